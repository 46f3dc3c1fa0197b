-- SPDX-License-Identifier: Apache-2.0
-- Returns deliveries of a subscription by their messages. The legend is in outbox.lua.
-- ARGV: now, subscription, lower bound of the messages (as of ZRANGEBYLEX), limit
-- Reply: {0, messages, deliveries} (first those that wait, then those that have failed; of
--   each up to the limit) {1} {2} {7}

local _, id, first, limit = unpack(ARGV)
if call('HEXISTS', SUBSCRIPTIONS, id) == 0 then
  return {7}
end
local deliveries, _, waiting, failed = keys_of(id)
local messages = call('ZRANGEBYLEX', waiting, first, '+', 'LIMIT', 0, limit)
for _, message in ipairs(call('ZRANGEBYLEX', failed, first, '+', 'LIMIT', 0, limit)) do
  messages[#messages + 1] = message
end
return {0, messages, ask('HMGET', deliveries, messages)}
