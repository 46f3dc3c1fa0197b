-- SPDX-License-Identifier: Apache-2.0
-- Returns what is due. The legend is in outbox.lua.
-- ARGV: now, how many notices, how many deliveries of each subscription
-- Reply: {0, messages of notices, notices, {subscription, messages, deliveries, ...},
--   {subscription, packed subscription, ...}, subscriptions that are behind} {1} {2}

local now, notices, most = unpack(ARGV)

-- Returns the messages of places (number + message).
local function messages_of(places)
  local messages = {}
  for i, place in ipairs(places) do
    messages[i] = place:sub(16)
  end
  return messages
end

local told = messages_of(
  call('ZRANGEBYSCORE', NOTICES, '-inf', now, 'LIMIT', 0, notices))
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', now)) do
  local deliveries, waiting = keys_of(id)
  local messages = messages_of(
    call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, most))
  found[#found + 1] = id
  found[#found + 1] = messages
  found[#found + 1] = ask('HMGET', deliveries, messages)
end
return {0, told, ask('HMGET', TOLD, told), found, call('HGETALL', SUBSCRIPTIONS),
  call('HKEYS', UNTRIED)}
