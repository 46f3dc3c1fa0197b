-- SPDX-License-Identifier: Apache-2.0
-- Returns the log of a subscription, newest first. The legend is in outbox.lua.
-- ARGV: now, subscription
-- Reply: {0, attempts} {1} {2} {7}

if call('HEXISTS', SUBSCRIPTIONS, ARGV[2]) == 0 then
  return {7}
end
local _, _, _, _, log = keys_of(ARGV[2])
return {0, call('LRANGE', log, 0, -1)}
