-- SPDX-License-Identifier: Apache-2.0
-- Returns the oldest messages of all states. The legend of the keys is in common.lua.
-- ARGV: now, limit
-- Reply: {0, ids, packed messages, holders, extras, expiries} {1} {2}

local limit = tonumber(ARGV[2])
local found = {}
for _, key in ipairs({R, C, D}) do
  local some = call('ZRANGE', key, 0, limit - 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    found[#found + 1] = {tonumber(some[i + 1]), some[i]}
  end
end
table.sort(found, function(one, other) return one[1] < other[1] end)
local ids = {}
for i = 1, math.min(limit, #found) do
  ids[i] = found[i][2]
end
local messages, holders, extras = tell(ids)
return {0, ids, messages, holders, extras, ask('ZMSCORE', E, ids)}
