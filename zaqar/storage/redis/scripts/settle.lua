-- SPDX-License-Identifier: Apache-2.0
-- Collects what has expired, a chunk at most. The legend of the keys is in common.lua.
-- ARGV: now
-- Reply: {0 or 1, how many messages and claims were collected, life, dead letters that
--   are leaving} {2}

local head = call('HMGET', Q, 'v', 'y', 'b')
if not head[1] then
  return {2}
end
local _, _, settle = upkeep()
local wake, collected = settle(ARGV[1], head[2] == '1')
return {wake and 0 or 1, collected, head[3],
  call('ZRANGE', O, 0, CHUNK - 1, 'WITHSCORES')}
