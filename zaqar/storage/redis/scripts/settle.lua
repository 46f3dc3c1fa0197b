-- SPDX-License-Identifier: Apache-2.0
-- Collects what has expired, a chunk at most. The legend of the keys is in common.lua.
-- ARGV: now
-- Reply: {0 or 1, how many messages and claims were collected, life, dead letters that
--   are leaving} {2}

local life = call('HGET', Q, 'b')
if not life then
  return {2}
end
local _, _, settle = upkeep()
local wake, collected = settle(ARGV[1], call('HGET', Q, 'y') == '1')
return {wake and 0 or 1, collected, life,
  call('ZRANGE', O, 0, CHUNK - 1, 'WITHSCORES')}
