-- SPDX-License-Identifier: Apache-2.0
-- Lets a delivery wait, unless it is there. The legend is in outbox.lua.
-- ARGV: now, subscription, how many failed ones are kept, message, failures, due, rest
-- Reply: {0, instant at which the list of outboxes looks again, when this was said; both
--   empty: it need not be told} {1} {2} {7}

local _, id, kept, message = unpack(ARGV)
if call('HEXISTS', SUBSCRIPTIONS, id) == 0 then
  return {7}
end
if call('HEXISTS', (keys_of(id)), message) == 0 then
  put(id, unpack(ARGV, 4, 7))
  conclude(kept)
end
return {0, look_again(head[2])}
