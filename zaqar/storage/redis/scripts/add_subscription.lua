-- SPDX-License-Identifier: Apache-2.0
-- Stores a subscription unless its subscriber has one. The legend is in outbox.lua.
-- ARGV: now, id, subscriber, its end, packed subscription
-- Reply: {0, id, packed subscription: the one that is there} {1} {2}

local _, id, subscriber, ends, packed = unpack(ARGV)
local other = call('HGET', SUBSCRIBERS, subscriber)
if other then
  return {0, other, call('HGET', SUBSCRIPTIONS, other)}
end
keep(id, subscriber, ends, packed)
return {0, id, packed}
