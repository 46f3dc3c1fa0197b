-- SPDX-License-Identifier: Apache-2.0
-- Stands behind common.lua in scripts on what belongs to subscribers. Keys of the queue:
--   <q>            hash  also u: somebody watches the queue, and the list of outboxes
--                        looks at it at this instant or before; "-1": it is leased, so
--                        the list need not be told; z: no subscription ends before it
--   <q>:u          hash  h holder; t end of the lease; l when the newest notice was
--                        written; n last number of a delivery
--   <q>:u:s        hash  subscription -> as the service packed it (a MessagePack array
--                        that begins with the subscriber)
--   <q>:u:i        zset  subscriptions, score 0
--   <q>:u:e        zset  subscription by its end
--   <q>:u:a        hash  subscriber -> subscription
--   <q>:u:n        zset  number (15 digits) + id of the message, by the instant at which
--                        it is due: notices
--   <q>:u:m        hash  message -> its notice, "number shown packed-message" (see post)
--   <q>:u:q        zset  subscription by the first instant at which a delivery is due
--   <q>:u:y        hash  subscription -> how many deliveries wait that were not tried
-- and of each subscription:
--   <q>:u:b:<id>   hash  message -> delivery, "number failures due ttl delay body"; due is
--                        empty where it has failed for good
--   <q>:u:t:<id>   zset  number (15 digits) + message by due: deliveries that wait
--   <q>:u:j:<id>   zset  their messages, score 0
--   <q>:u:v:<id>   zset  messages that failed for good, score 0
--   <q>:u:l:<id>   list  attempts as the service packed them, newest first

local U = Q .. ':u'
local SUBSCRIPTIONS, IDS, ENDS, SUBSCRIBERS = U .. ':s', U .. ':i', U .. ':e', U .. ':a'
local NOTICES, TOLD, DUE, UNTRIED = U .. ':n', U .. ':m', U .. ':q', U .. ':y'
local LEASED = '-1'

-- The keys of one subscription.
local KEYS_OF = {}
local function keys_of(id)
  local keys = KEYS_OF[id]
  if not keys then
    keys = {U .. ':b:' .. id, U .. ':t:' .. id, U .. ':j:' .. id, U .. ':v:' .. id,
      U .. ':l:' .. id}
    KEYS_OF[id] = keys
  end
  return unpack(keys)
end

-- Lets nobody watch the queue.
local function abandon()
  for _, id in ipairs(call('ZRANGE', IDS, 0, -1)) do
    call('UNLINK', keys_of(id))
  end
  call('UNLINK', U, SUBSCRIPTIONS, IDS, ENDS, SUBSCRIBERS, NOTICES, TOLD, DUE, UNTRIED)
  call('HDEL', Q, 'u', 'z')
end

-- Removes a subscription with all that is its own, if it is there.
local function forget(id)
  local packed = call('HGET', SUBSCRIPTIONS, id)
  if not packed then
    return
  end
  local _, subscriber = cmsgpack.unpack_limit(packed, 1, 1)
  call('HDEL', SUBSCRIPTIONS, id)
  call('HDEL', SUBSCRIBERS, subscriber)
  call('ZREM', IDS, id)
  call('ZREM', ENDS, id)
  call('ZREM', DUE, id)
  call('HDEL', UNTRIED, id)
  call('UNLINK', keys_of(id))
  if call('EXISTS', SUBSCRIPTIONS) == 0 then
    abandon()
  end
end

-- Says when the next subscription ends.
local function tell_end()
  local first = call('ZRANGE', ENDS, 0, 0, 'WITHSCORES')
  if first[2] then
    call('HSET', Q, 'z', first[2])
  end
end

-- Removes subscriptions that have ended, a chunk at most. Returns how many.
local function collect(now)
  local ended = call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, CHUNK)
  for _, id in ipairs(ended) do
    forget(id)
  end
  tell_end()
  return #ended
end

-- Stores a subscription, new or changed; its subscriber has no other one.
local function keep(id, subscriber, ends, packed)
  local old = call('HGET', SUBSCRIPTIONS, id)
  if old then
    local _, former = cmsgpack.unpack_limit(old, 1, 1)
    call('HDEL', SUBSCRIBERS, former)
  end
  call('HSET', SUBSCRIPTIONS, id, packed)
  call('HSET', SUBSCRIBERS, subscriber, id)
  call('ZADD', IDS, 0, id)
  call('ZADD', ENDS, ends, id)
  call('HSETNX', Q, 'u', NEVER)
  tell_end()
end

-- Returns the first instant at which something is due.
local function first_due()
  local first = NEVER
  for _, key in ipairs({NOTICES, DUE}) do
    local found = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if found and tonumber(found) < tonumber(first) then
      first = found
    end
  end
  return first
end

-- Returns what the list of outboxes is told: the instant at which it looks at the queue
-- ("": never), and when this was said, in microseconds.
local function look(instant)
  local time = call('TIME')
  if tonumber(instant) >= tonumber(NEVER) then
    instant = ''
  end
  return instant, time[1] .. string.format('%06d', time[2])
end

-- Returns the same where the list knows too little: it waits for a later instant than the
-- first one that is due, or was told of it by somebody who may not have finished; but not
-- before an instant, if there is one.
local function look_again(known, earliest)
  if known == LEASED then
    return '', ''
  end
  local first = first_due()
  if earliest and tonumber(first) < tonumber(earliest) then
    first = earliest
  end
  call('HSET', Q, 'u', first)
  return look(first)
end

