-- SPDX-License-Identifier: Apache-2.0
-- Replaces a subscription that is still as it was read. The legend is in outbox.lua.
-- ARGV: now, id, subscriber, its end, packed subscription, as it was read, packed
-- Reply: {0} {1} {2} {7} {8} {10}

local _, id, subscriber, ends, packed, expected = unpack(ARGV)
local stored = call('HGET', SUBSCRIPTIONS, id)
if not stored then
  return {7}
end
if stored == packed then
  return {0}
end
if stored ~= expected then
  return {10}
end
local other = call('HGET', SUBSCRIBERS, subscriber)
if other and other ~= id then
  return {8}
end
keep(id, subscriber, ends, packed)
return {0}
