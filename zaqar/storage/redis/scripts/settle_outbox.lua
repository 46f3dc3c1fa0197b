-- SPDX-License-Identifier: Apache-2.0
-- Stores what became of deliveries and holds the lease. The legend is in outbox.lua.
-- ARGV: now, holder, end of the lease, how many failed deliveries and attempts are kept;
--   then steps: "w", subscription, message, failures, due, rest of a delivery that waits
--   or has failed; "f", subscription, message of one that is finished; "a", subscription,
--   attempt; "n", message of a notice that needs nothing more
-- Reply: {0} {1} {2} {9}

local _, holder, ends, failures, attempts = unpack(ARGV, 1, 5)
if call('HGET', U, 'h') ~= holder then
  return {9}
end

local known = {}
local function is_there(id)
  if known[id] == nil then
    known[id] = call('HEXISTS', SUBSCRIPTIONS, id) == 1
  end
  return known[id]
end

local steps = {
  w = {5, function(id, ...)
    if is_there(id) then
      put(id, ...)
    end
  end},
  f = {2, finish},
  a = {2, function(id, attempt)
    if is_there(id) then
      local _, _, _, _, log = keys_of(id)
      call('LPUSH', log, attempt)
      call('LTRIM', log, 0, attempts - 1)
    end
  end},
  n = {1, function(message)
    local number = (call('HGET', TOLD, message) or ''):match('^%d+')
    if number then
      call('ZREM', NOTICES, place_of(number, message))
      call('HDEL', TOLD, message)
    end
  end},
}
local at = 6
while at <= #ARGV do
  local count, step = unpack(steps[ARGV[at]])
  step(unpack(ARGV, at + 1, at + count))
  at = at + 1 + count
end
conclude(failures)
call('HSET', U, 't', ends)
return {0}
