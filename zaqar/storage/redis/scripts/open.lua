-- SPDX-License-Identifier: Apache-2.0
-- Stands behind upkeep.lua in scripts that need a settled queue. ARGV[1] is now.

-- The queue: revision, delays, wake.
local head = call('HMGET', Q, 'v', 'y', 't')
if not head[1] then
  return {2}
end
if tonumber(head[3]) <= tonumber(ARGV[1]) then
  local _, _, settle = upkeep()
  head[3] = settle(ARGV[1], head[2] == '1')
  if not head[3] then
    return {1}
  end
end

