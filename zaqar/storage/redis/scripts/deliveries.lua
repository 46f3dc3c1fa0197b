-- SPDX-License-Identifier: Apache-2.0
-- Stands behind outbox.lua in scripts that change deliveries.

-- Subscription -> how many more of its deliveries wait now that were not tried.
local touched = {}

local function place_of(number, message)
  return string.format('%015d', number) .. message
end

-- Moves a delivery between the orders of its subscription. Due is empty where it has
-- failed for good; due and failures are nil where it was not there, or goes.
local function move(id, message, number, failures, due, new_failures, new_due)
  local _, waiting, messages, failed = keys_of(id)
  local waited, waits = due and due ~= '', new_due and new_due ~= ''
  if waits then
    call('ZADD', waiting, new_due, place_of(number, message))
  elseif waited then
    call('ZREM', waiting, place_of(number, message))
  end
  if waits and not waited then
    call('ZADD', messages, 0, message)
  elseif waited and not waits then
    call('ZREM', messages, message)
  end
  if new_due == '' then
    call('ZADD', failed, 0, message)
  elseif due == '' then
    call('ZREM', failed, message)
  end
  touched[id] = (touched[id] or 0) + (waits and new_failures == '0' and 1 or 0)
    - (waited and failures == '0' and 1 or 0)
end

-- Returns a delivery: number, failures, due, rest; nothing: it is not there.
local function read(id, message)
  local value = call('HGET', (keys_of(id)), message)
  if value then
    return value:match('^(%d+) (%d+) (%S*) (.*)$')
  end
end

-- Stores a delivery as it is now, new or changed; nil for the rest: as it was.
local function put(id, message, failures, due, rest)
  local number, was_failures, was_due, was_rest = read(id, message)
  number = number or call('HINCRBY', U, 'n', 1)
  local value = table.concat({number, failures, due, rest or was_rest}, ' ')
  call('HSET', (keys_of(id)), message, value)
  move(id, message, number, was_failures, was_due, failures, due)
end

-- Removes a delivery, if it is there.
local function finish(id, message)
  local number, failures, due = read(id, message)
  if number then
    call('HDEL', (keys_of(id)), message)
    move(id, message, number, failures, due)
  end
end

-- Ends the step: tells of touched subscriptions what is due first and what was not tried,
-- and drops what failed before the last ones.
local function conclude(kept)
  for id, change in pairs(touched) do
    local deliveries, waiting, _, failed = keys_of(id)
    local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
    if first then
      call('ZADD', DUE, first, id)
    else
      call('ZREM', DUE, id)
    end
    if change ~= 0 and call('HINCRBY', UNTRIED, id, change) <= 0 then
      call('HDEL', UNTRIED, id)
    end
    local old = call('ZRANGE', failed, 0, -tonumber(kept) - 1)
    bulk('HDEL', deliveries, old)
    bulk('ZREM', failed, old)
  end
end

