-- SPDX-License-Identifier: Apache-2.0
-- Claims the oldest messages that are ready. The legend of the keys is in common.lua.
-- ARGV: now, revision, claim, limit, ttl, end of the claim, longer ttl of messages,
--   longer expiry of messages, "1" to count claims, dead letter queue ("": none),
--   claims after which a message goes there, its ttl there ("": as it was)
-- Reply: {0, life, dead letters that are leaving, ids, packed messages, holders, extras}
--   {1, life, dead letters} {2} {3, ...}
-- A dead letter is a MessagePack array: id, expiry, claims, longer ttl, its target, ttl
-- there, packed message. They stay in <q>:o until the target has them.

local now, revision, claim, limit, ttl, ends, longer, expires, counts, target, most,
  target_ttl = unpack(ARGV)
if head[1] ~= revision then
  return {3, head[1], head[2], call('HGET', Q, 'd')}
end
local held = Q .. ':k:' .. claim
limit = tonumber(limit)

-- Puts messages among the dead letters that are leaving.
local function bury(ids)
  local values = ask('HMGET', M, ids)
  local ends_of, extras = ask('ZMSCORE', E, ids), ask('HMGET', N, ids)
  local number = call('HINCRBY', Q, 'o', #ids) - #ids
  local letters = {}
  for i, id in ipairs(ids) do
    local claims, changed = (extras[i] or '0 '):match('^(%d+) (.*)$')
    letters[#letters + 1] = number + i
    letters[#letters + 1] = '\151' .. cmsgpack.pack(id, ends_of[i], claims, changed,
      target, target_ttl) .. values[i]
  end
  bulk('ZADD', O, letters)
  call('HSET', Q, 'g', '1')
  local drop = upkeep()
  drop(ids)
end

-- Takes the oldest messages that were not claimed too often, as {number, id, ...}.
local function take_living()
  local taken, dead, from = {}, {}, 0
  local step = math.max(limit, 100)
  while #taken < 2 * limit and #dead < CHUNK do
    local found, ids = call('ZRANGE', R, from, from + step - 1, 'WITHSCORES'), {}
    for i = 1, #found, 2 do
      ids[#ids + 1] = found[i]
    end
    if #ids == 0 then
      break
    end
    local extras = ask('HMGET', N, ids)
    for i, id in ipairs(ids) do
      local claims = tonumber((extras[i] or '0 '):match('^%d+'))
      if claims >= tonumber(most) then
        dead[#dead + 1] = id
      else
        taken[#taken + 1] = found[2 * i]
        taken[#taken + 1] = id
      end
      if #taken == 2 * limit or #dead == CHUNK then
        break
      end
    end
    from = from + #ids
  end
  if #dead > 0 then
    bury(dead)
  end
  if #dead == CHUNK and #taken < 2 * limit then
    return nil
  end
  local ids = {}
  for i = 2, #taken, 2 do
    ids[#ids + 1] = taken[i]
  end
  bulk('ZREM', R, ids)
  return taken
end

-- Takes the oldest messages, as {number, id, ...}.
local function take()
  local taken = call('ZPOPMIN', R, limit)
  for i = 1, #taken, 2 do
    taken[i], taken[i + 1] = taken[i + 1], taken[i]
  end
  return taken
end

-- Counts one more claim of each message.
local function count(ids)
  local extras, changed = ask('HMGET', N, ids), {}
  for i, id in ipairs(ids) do
    local claims, changed_ttl = (extras[i] or '0 '):match('^(%d+) (.*)$')
    changed[#changed + 1] = id
    changed[#changed + 1] = (claims + 1) .. ' ' .. changed_ttl
  end
  bulk('HSET', N, changed)
end

local life, letters = '', {}
local ids = {}
if call('HEXISTS', L, claim) == 1 then
  ids = call('ZRANGE', held, 0, -1)
  return {0, life, letters, ids, tell(ids)}
end
local taken
if target == '' then
  taken = take()
else
  taken = take_living()
  if call('EXISTS', O) > 0 then
    life, letters = call('HGET', Q, 'b'),
      call('ZRANGE', O, 0, CHUNK - 1, 'WITHSCORES')
  end
  if not taken then
    return {1, life, letters}
  end
end
if #taken == 0 then
  return {0, life, letters, {}, {}, {}, {}}
end
local holds = {}
for i = 2, #taken, 2 do
  ids[#ids + 1] = taken[i]
  holds[i - 1], holds[i] = taken[i], claim
end
bulk('ZADD', C, taken)
bulk('ZADD', held, taken)
bulk('HSET', H, holds)
call('HSET', L, claim, ttl .. ' ' .. now)
call('ZADD', X, ends, claim)
stir(head, ends)
if counts == '1' then
  count(ids)
end
lengthen(ids, ends, longer, expires)
local extras = call('EXISTS', N) > 0 and ask('HMGET', N, ids) or {}
return {0, life, letters, ids, ask('HMGET', M, ids), {}, extras}
