-- SPDX-License-Identifier: Apache-2.0
-- Stands behind outbox.lua in scripts that must not see subscriptions that have ended.
-- ARGV[1] is now.

-- The queue: revision; announced instant, false: nobody watches it; end of a subscription.
local head = call('HMGET', Q, 'v', 'u', 'z')
if not head[1] then
  return {2}
end
if head[3] and tonumber(head[3]) <= tonumber(ARGV[1]) then
  if collect(ARGV[1]) == CHUNK then
    return {1}
  end
  head[2] = call('HGET', Q, 'u')
end

