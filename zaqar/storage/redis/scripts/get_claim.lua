-- SPDX-License-Identifier: Apache-2.0
-- Returns a claim and its messages. The legend of the keys is in common.lua.
-- ARGV: now, claim
-- Reply: {0, "ttl created", ids, packed messages, holders, extras} {1} {2} {6}

local found = call('HGET', L, ARGV[2])
if not found then
  return {6}
end
local ids = call('ZRANGE', Q .. ':k:' .. ARGV[2], 0, -1)
return {0, found, ids, tell(ids)}
