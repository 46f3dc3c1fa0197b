-- SPDX-License-Identifier: Apache-2.0
-- Takes entries of outboxes to look at, so that for a time nobody else does.
-- ARGV: now, holder, until when, limit
-- Reply: {entry, since when it is due, ...}

local now, holder, ends, limit = unpack(ARGV)
limit = tonumber(limit)
local mine = held_by(holder)
local found = call('ZRANGEBYSCORE', LIST, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local seen = {}
for i = 1, #found, 2 do
  local entry, due = found[i], found[i + 1]
  -- What the holder has leased already is due for longer.
  found[i + 1] = call('ZSCORE', mine, entry) or due
  seen[entry] = true
end
-- Own ones that are not looked at yet come after those that are free.
for _, entry in ipairs(call('ZRANGE', mine, 0, limit - 1)) do
  if #found < 2 * limit and not seen[entry] then
    found[#found + 1] = entry
    found[#found + 1] = call('ZSCORE', mine, entry)
  end
end
for i = 1, #found, 2 do
  call('ZADD', LIST, ends, found[i])
  call('ZADD', mine, found[i + 1], found[i])
end
if #found > 0 then
  -- A holder that is gone leaves nothing behind.
  call('EXPIRE', mine, 3600)
end
return found
