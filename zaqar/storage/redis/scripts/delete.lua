-- SPDX-License-Identifier: Apache-2.0
-- Deletes one message by the rules of claims. The legend of the keys is in common.lua.
-- ARGV: now, id, "1" if a claim is given, claim
-- Reply: {0} {1} {2} {4} {5}

local _, id, given, claim = unpack(ARGV)
local holder = call('HGET', H, id)
if not holder then
  if given == '1' and call('HEXISTS', M, id) == 1 then
    return {5}
  end
elseif given ~= '1' then
  return {4}
elseif holder ~= claim then
  return {call('HEXISTS', L, claim) == 1 and 4 or 5}
end
local drop = upkeep()
drop({id})
return {0}
