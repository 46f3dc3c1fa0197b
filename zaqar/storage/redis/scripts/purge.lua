-- SPDX-License-Identifier: Apache-2.0
-- Removes all messages that no claim holds, all subscriptions, or both. The legend of the
-- keys is in common.lua, and in outbox.lua.
-- ARGV: now, "1": messages, "1": subscriptions
-- Reply: {0} {1} {2}

if ARGV[3] == '1' and call('HEXISTS', Q, 'u') == 1 then
  abandon()
end
if ARGV[2] ~= '1' then
  return {0}
end
if call('ZCARD', R) + call('ZCARD', D) <= CHUNK then
  local drop = upkeep()
  drop(call('ZRANGE', R, 0, -1))
  drop(call('ZRANGE', D, 0, -1))
  return {0}
end

-- PERF: what is claimed is taken over, and all else is freed in the background.
local kept = call('ZRANGE', C, 0, -1)
for _, key in ipairs({M, E, W, N}) do
  if call('EXISTS', key) > 0 then
    call('RENAME', key, key .. ':g')
  end
end
call('UNLINK', R, D)

-- Copies what the old key has of the messages: {id, value} or, for a zset, {value, id}.
local function take_over(command, question, key, ids)
  local values, pairs_of = ask(question, key .. ':g', ids), {}
  for i, id in ipairs(ids) do
    if values[i] then
      local first, second = id, values[i]
      if command == 'ZADD' then
        first, second = second, first
      end
      pairs_of[#pairs_of + 1] = first
      pairs_of[#pairs_of + 1] = second
    end
  end
  bulk(command, key, pairs_of)
end

for from = 1, #kept, CHUNK do
  local ids = {unpack(kept, from, math.min(from + CHUNK - 1, #kept))}
  take_over('HSET', 'HMGET', M, ids)
  take_over('HSET', 'HMGET', N, ids)
  take_over('ZADD', 'ZMSCORE', E, ids)
  take_over('ZADD', 'ZMSCORE', W, ids)
end
call('UNLINK', M .. ':g', E .. ':g', W .. ':g', N .. ':g')
return {0}
