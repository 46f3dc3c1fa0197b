-- SPDX-License-Identifier: Apache-2.0
-- What all scripts share; it stands in front of each of them when they are loaded.
-- store.py says which other pieces follow it.
--
-- KEYS[1] is the record of the queue; KEYS[2], in a cluster, a key that never exists. All
-- other keys of the queue begin with the first, so they have its hash tag and its slot:
--   <q>            hash  v revision; y "1": the queue delays; d metadata (JSON);
--                        s last number of a message; b random name of this life;
--                        t wake: nothing in the queue ends or becomes visible before it;
--                        o last number of a dead letter; g "1": dead letters are leaving;
--                        u, z: only if somebody watches the queue (see outbox.lua)
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
--   <q>:u...       what belongs to its subscribers; see outbox.lua
--
-- A reply is an array that begins with one of:
--   0 done   1 a chunk of upkeep was done, call again   2 there is no such queue
--   3 the queue changed (revision, delays, metadata)   4 a live claim holds the message
--   5 the claim does not hold the message   6 there is no such claim
--   7 there is no such subscription   8 another subscription has the subscriber
--   9 the outbox is not the holder's   10 the subscription is not as it was read
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

