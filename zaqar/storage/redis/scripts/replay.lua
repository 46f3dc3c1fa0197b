-- SPDX-License-Identifier: Apache-2.0
-- Lets failed deliveries wait again. The legend is in outbox.lua.
-- ARGV: now, subscription, how many failed ones are kept, "1": all of them; else messages
-- Reply: {0, how many, instant at which the list of outboxes looks again, when this was
--   said; both empty: it need not be told} {1} {2} {7}

local now, id, kept, all = unpack(ARGV, 1, 4)
if call('HEXISTS', SUBSCRIPTIONS, id) == 0 then
  return {7}
end
local _, _, _, failed = keys_of(id)
local messages = {}
if all == '1' then
  messages = call('ZRANGE', failed, 0, -1)
else
  for at = 5, #ARGV do
    if call('ZSCORE', failed, ARGV[at]) then
      messages[#messages + 1] = ARGV[at]
    end
  end
end
for _, message in ipairs(messages) do
  put(id, message, '0', now)
end
conclude(kept)
return {0, #messages, look_again(head[2])}
