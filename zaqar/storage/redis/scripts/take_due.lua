-- SPDX-License-Identifier: Apache-2.0
-- Takes entries of outboxes to look at, so that for a time nobody else does.
-- ARGV: now, holder, until when, limit, when what the holder has is offered to it again
-- Reply: {entry, since when it waits to be looked at, ...}

local now, holder, ends, limit, again = unpack(ARGV)
limit = tonumber(limit)
local mine = held_by(holder)
local found = call('ZRANGEBYSCORE', LIST, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local seen = {}
for i = 1, #found, 2 do
  seen[found[i]] = true
end
-- Own ones come after those that are free.
local own = call('ZRANGEBYSCORE', mine, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #own, 2 do
  if #found < 2 * limit and not seen[own[i]] then
    found[#found + 1], found[#found + 2] = own[i], own[i + 1]
  end
end
for i = 1, #found, 2 do
  call('ZADD', LIST, ends, found[i])
  call('ZADD', mine, again, found[i])
end
if #found > 0 then
  -- A holder that is gone leaves nothing behind.
  call('EXPIRE', mine, 3600)
end
return found
