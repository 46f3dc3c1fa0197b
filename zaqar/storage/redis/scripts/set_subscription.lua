-- SPDX-License-Identifier: Apache-2.0
-- Replaces a subscription. The legend is in outbox.lua.
-- ARGV: now, id, subscriber, its end, packed subscription
-- Reply: {0} {1} {2} {7} {8}

local _, id, subscriber, ends, packed = unpack(ARGV)
if call('HEXISTS', SUBSCRIPTIONS, id) == 0 then
  return {7}
end
local other = call('HGET', SUBSCRIBERS, subscriber)
if other and other ~= id then
  return {8}
end
keep(id, subscriber, ends, packed)
return {0}
