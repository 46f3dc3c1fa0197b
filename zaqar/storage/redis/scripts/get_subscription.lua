-- SPDX-License-Identifier: Apache-2.0
-- Returns a subscription. The legend is in outbox.lua.
-- ARGV: now, id
-- Reply: {0, packed subscription} {1} {2} {7}

local packed = call('HGET', SUBSCRIPTIONS, ARGV[2])
if not packed then
  return {7}
end
return {0, packed}
