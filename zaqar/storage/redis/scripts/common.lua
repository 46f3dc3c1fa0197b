-- SPDX-License-Identifier: Apache-2.0
-- What all scripts share; it stands in front of each of them when they are loaded.
--
-- KEYS[1] is the record of the queue; KEYS[2], in a cluster, a key that never exists. All
-- other keys of the queue begin with the first, so they have its hash tag and its slot:
--   <q>            hash  v revision; y "1": the queue delays; d metadata (JSON);
--                        s last number of a message; b random name of this life;
--                        t wake: nothing in the queue ends or becomes visible before it;
--                        o last number of a dead letter; g "1": dead letters are leaving
--   <q>:m          hash  id -> message as the service packed it (a MessagePack array:
--                        client, created, arrived or nil, ttl, ...)
--   <q>:r :d :c    zset  id by number: ready, held back by its delay, claimed
--   <q>:e          zset  id by the instant of expiry; all messages
--   <q>:w          zset  id by the end of its delay; all messages whose delay runs
--   <q>:n          hash  id -> "claims ttl"; only where a claim was counted, or where a
--                        claim gave the message a longer ttl (else the ttl is empty)
--   <q>:h          hash  id -> the claim that holds it
--   <q>:l          hash  claim -> "ttl created"
--   <q>:x          zset  claim by its end
--   <q>:k:<claim>  zset  id by number: what the claim holds
--   <q>:o          zset  dead letters on their way to another queue, by their numbers
--   <q>:i          hash  life of a queue -> last number of a dead letter taken from it
--
-- A reply is an array that begins with one of:
--   0 done   1 a chunk of upkeep was done, call again   2 there is no such queue or claim
--   3 the queue changed (revision, delays, metadata)   4 a live claim holds the message
--   5 the claim does not hold the message
-- Instants and ttls come and go as text, so that none loses a digit.

local call = redis.call
local Q = KEYS[1]
local M, R, D, C = Q .. ':m', Q .. ':r', Q .. ':d', Q .. ':c'
local E, W, N, H = Q .. ':e', Q .. ':w', Q .. ':n', Q .. ':h'
local L, X, O = Q .. ':l', Q .. ':x', Q .. ':o'
local NEVER = '9e15'
-- How much one call settles: some milliseconds of work.
local CHUNK = 1000
-- How many values one command gets; even, and well within Lua's stack.
local PIECE = 4000

-- Gives the command all values, in pieces.
local function bulk(command, key, values)
  for from = 1, #values, PIECE do
    call(command, key, unpack(values, from, math.min(from + PIECE - 1, #values)))
  end
end

-- Asks the command (HMGET, ZMSCORE) for all fields, in pieces; false: not there.
local function ask(command, key, fields)
  if #fields > 0 and #fields <= PIECE then
    return call(command, key, unpack(fields))
  end
  local found = {}
  for from = 1, #fields, PIECE do
    local to = math.min(from + PIECE - 1, #fields)
    for _, value in ipairs(call(command, key, unpack(fields, from, to))) do
      found[#found + 1] = value
    end
  end
  return found
end

-- Makes the functions that upkeep needs and returns them: drop(ids), free(claim, delays),
-- settle(now, delays). PERF: they are made only where they are used; it takes a third of
-- the time of a small script.
local function upkeep()
  -- Forgets a claim that holds nothing any more.
  local function finish(claim)
    call('HDEL', L, claim)
    call('ZREM', X, claim)
  end

  -- Takes messages out of the claims that hold them.
  local function let_go(ids)
    local holders = ask('HMGET', H, ids)
    local held = {}
    for i, id in ipairs(ids) do
      local claim = holders[i]
      if claim then
        held[claim] = held[claim] or {}
        table.insert(held[claim], id)
      end
    end
    for claim, theirs in pairs(held) do
      local key = Q .. ':k:' .. claim
      bulk('ZREM', key, theirs)
      bulk('ZREM', C, theirs)
      bulk('HDEL', H, theirs)
      if call('EXISTS', key) == 0 then
        finish(claim)
      end
    end
  end

  -- Removes messages, whatever their state.
  local function drop(ids)
    bulk('HDEL', M, ids)
    bulk('ZREM', E, ids)
    bulk('ZREM', R, ids)
    if call('EXISTS', D, W) > 0 then
      bulk('ZREM', D, ids)
      bulk('ZREM', W, ids)
    end
    bulk('HDEL', N, ids)
    if #ids > 0 and call('EXISTS', H) > 0 then
      let_go(ids)
    end
  end

  -- Ends a claim and sets its messages free; says how many they were.
  local function free(claim, delays)
    local key = Q .. ':k:' .. claim
    local held = call('ZRANGE', key, 0, -1, 'WITHSCORES')
    local ids, ready, back = {}, {}, {}
    for i = 1, #held, 2 do
      ids[#ids + 1] = held[i]
    end
    local shown = delays and ask('ZMSCORE', W, ids) or {}
    for i, id in ipairs(ids) do
      local place = shown[i] and back or ready
      place[#place + 1] = held[2 * i]
      place[#place + 1] = id
    end
    bulk('ZADD', R, ready)
    bulk('ZADD', D, back)
    bulk('ZREM', C, ids)
    bulk('HDEL', H, ids)
    call('UNLINK', key)
    finish(claim)
    return #ids
  end

  -- Shows messages whose delay is over.
  local function show(ids)
    local numbers = ask('ZMSCORE', D, ids)
    local ready = {}
    for i, id in ipairs(ids) do
      if numbers[i] then
        ready[#ready + 1] = numbers[i]
        ready[#ready + 1] = id
      end
    end
    bulk('ZADD', R, ready)
    bulk('ZREM', D, ids)
    bulk('ZREM', W, ids)
  end

  -- Does what the time has changed up to now, a chunk at most. Returns the wake (nil: the
  -- chunk was full) and how many messages and claims were collected.
  local function settle(now, delays)
    local left, collected = CHUNK, 0
    for _, claim in ipairs(call('ZRANGEBYSCORE', X, '-inf', now, 'LIMIT', 0, left)) do
      left = left - 1 - free(claim, delays)
      collected = collected + 1
      if left <= 0 then
        return nil, collected
      end
    end
    local expired = call('ZRANGEBYSCORE', E, '-inf', now, 'LIMIT', 0, left)
    drop(expired)
    collected = collected + #expired
    left = left - #expired
    local shown = {}
    if left > 0 then
      shown = call('ZRANGEBYSCORE', W, '-inf', now, 'LIMIT', 0, left)
      show(shown)
    end
    if left <= #shown then
      return nil, collected
    end
    local wake = NEVER
    for _, key in ipairs({E, X, W}) do
      local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
      if first and tonumber(first) < tonumber(wake) then
        wake = first
      end
    end
    call('HSET', Q, 't', wake)
    return wake, collected
  end

  return drop, free, settle
end

-- Returns the settled queue as {revision, delays, wake}; or nil and the reply to give.
local function open(now, revision)
  local head = call('HMGET', Q, 'v', 'y', 't')
  if not head[1] then
    return nil, {2}
  end
  if revision and head[1] ~= revision then
    return nil, {3, head[1], head[2], call('HGET', Q, 'd')}
  end
  if tonumber(head[3]) <= tonumber(now) then
    local _, _, settle = upkeep()
    head[3] = settle(now, head[2] == '1')
    if not head[3] then
      return nil, {1}
    end
  end
  return head
end

-- Lets the queue wake at this instant, if not before.
local function stir(head, instant)
  if tonumber(instant) < tonumber(head[3]) then
    call('HSET', Q, 't', instant)
    head[3] = instant
  end
end

-- Returns what is stored of messages: the packed texts, the claims that hold them and
-- their extras; the latter two are empty if no message of the queue has any.
local function tell(ids)
  if #ids == 0 then
    return {}, {}, {}
  end
  local holders = call('EXISTS', H) > 0 and ask('HMGET', H, ids) or {}
  local extras = call('EXISTS', N) > 0 and ask('HMGET', N, ids) or {}
  return ask('HMGET', M, ids), holders, extras
end
