-- SPDX-License-Identifier: Apache-2.0
-- Deletes messages, all or none of them. The legend of the keys is in common.lua.
-- ARGV: now, how many claims are given ("": none), these claims; ids, each once
-- Reply: {0} {1} {2} {5, id}

local count = tonumber(ARGV[2])
local ids, found = {}, {}
for i = 3 + (count or 0), #ARGV do
  ids[#ids + 1] = ARGV[i]
end
local there = ask('ZMSCORE', E, ids)
for i, id in ipairs(ids) do
  if there[i] then
    found[#found + 1] = id
  end
end
if count then
  local given = {}
  for i = 3, 2 + count do
    given[ARGV[i]] = true
  end
  local holders = ask('HMGET', H, found)
  for i, id in ipairs(found) do
    if not holders[i] or not given[holders[i]] then
      return {5, id}
    end
  end
end
local drop = upkeep()
drop(found)
return {0}
