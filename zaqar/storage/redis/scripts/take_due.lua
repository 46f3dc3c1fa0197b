-- SPDX-License-Identifier: Apache-2.0
-- Takes entries of outboxes to look at, so that for a time nobody else does.
-- ARGV: now, holder, until when, limit, when what the holder has is offered to it again,
--   1: nothing but that, and now; projects whose entries are passed over
-- Reply: {entry, since when it waits to be looked at, ...}

-- Not all of them: there may be more than Lua's stack takes.
local now, holder, ends, limit, again, anew = unpack(ARGV, 1, 6)
limit = tonumber(limit)
local mine = held_by(holder)
local found, seen, without = {}, {}, {}
for i = 7, #ARGV do
  without[ARGV[i]] = true
end

-- Adds entries that wait in a key until an instant, from one place on. Returns how many
-- were looked at.
local function add(key, latest, from, passed_over)
  local entries = call('ZRANGEBYSCORE', key, '-inf', latest, 'WITHSCORES', 'LIMIT', from,
    limit)
  for i = 1, #entries, 2 do
    local entry = entries[i]
    if #found < 2 * limit and not seen[entry]
      and not passed_over[entry:match('^[^/]*')] then
      seen[entry] = true
      found[#found + 1], found[#found + 2] = entry, entries[i + 1]
    end
  end
  return #entries / 2
end

if anew == '1' then
  add(mine, '+inf', 0, {})
else
  local from, count = 0
  repeat
    count = add(LIST, now, from, without)
    from = from + count
  until count < limit or #found >= 2 * limit
  -- Own ones come after those that are free.
  add(mine, now, 0, {})
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
