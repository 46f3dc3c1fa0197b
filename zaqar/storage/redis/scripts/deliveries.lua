-- SPDX-License-Identifier: Apache-2.0
-- Stands behind outbox.lua in scripts that change deliveries.

local touched = {}

local function place_of(number, message)
  return string.format('%015d', number) .. message
end

-- Counts deliveries of a subscription that wait and were not tried.
local function count_untried(id, change)
  if call('HINCRBY', UNTRIED, id, change) <= 0 then
    call('HDEL', UNTRIED, id)
  end
end

-- Takes a delivery out of the order of its subscription; returns its number and the rest
-- of it, nil: it is not there.
local function take_out(id, message)
  local deliveries, waiting, messages, failed = keys_of(id)
  local old = call('HGET', deliveries, message)
  if not old then
    return nil
  end
  local number, failures, due, rest = old:match('^(%d+) (%d+) (%S*) (.*)$')
  if due == '' then
    call('ZREM', failed, message)
  else
    call('ZREM', waiting, place_of(number, message))
    call('ZREM', messages, message)
    if failures == '0' then
      count_untried(id, -1)
    end
  end
  touched[id] = true
  return number, rest
end

-- Stores a delivery as it is now, new or changed; nil for the rest: as it was.
local function put(id, message, failures, due, rest)
  local number, was = take_out(id, message)
  number = number or call('HINCRBY', U, 'n', 1)
  local deliveries, waiting, messages, failed = keys_of(id)
  call('HSET', deliveries, message,
    table.concat({number, failures, due, rest or was}, ' '))
  if due == '' then
    call('ZADD', failed, 0, message)
  else
    call('ZADD', waiting, due, place_of(number, message))
    call('ZADD', messages, 0, message)
    if failures == '0' then
      count_untried(id, 1)
    end
  end
  touched[id] = true
end

-- Removes a delivery, if it is there.
local function finish(id, message)
  if take_out(id, message) then
    call('HDEL', (keys_of(id)), message)
  end
end

-- Ends the step: tells when touched subscriptions have something due, and drops what
-- failed before the last ones.
local function conclude(kept)
  for id in pairs(touched) do
    local deliveries, waiting, _, failed = keys_of(id)
    local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
    if first then
      call('ZADD', DUE, first, id)
    else
      call('ZREM', DUE, id)
    end
    local old = call('ZRANGE', failed, 0, -tonumber(kept) - 1)
    bulk('HDEL', deliveries, old)
    bulk('ZREM', failed, old)
  end
end

