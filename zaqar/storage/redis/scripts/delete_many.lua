-- SPDX-License-Identifier: Apache-2.0
-- Deletes messages, all or none of them. The legend of the keys is in common.lua.
-- ARGV: now, how many claims are given ("": none), these claims; ids, each once
-- Reply: {0} {1} {2} {5, id}

local count = tonumber(ARGV[2])
local ids = {}
for i = 3 + (count or 0), #ARGV do
  ids[#ids + 1] = ARGV[i]
end
if count then
  local given = {}
  for i = 3, 2 + count do
    given[ARGV[i]] = true
  end
  local there, holders = ask('ZMSCORE', E, ids), ask('HMGET', H, ids)
  for i, id in ipairs(ids) do
    if there[i] and not (holders[i] and given[holders[i]]) then
      return {5, id}
    end
  end
end
local drop = upkeep()
drop(ids)
return {0}
