-- SPDX-License-Identifier: Apache-2.0
-- Replaces the settings of the queue. The legend of the keys is in common.lua.
-- ARGV: now, revision, delays ("0", "1"), metadata, the revision that is expected
-- Reply: {0} {1} {2} {3, ...}

local _, revision, delays, metadata, expect = unpack(ARGV)
if head[1] == revision then
  return {0}
end
if head[1] ~= expect then
  return {3, head[1], head[2], call('HGET', Q, 'd')}
end
call('HSET', Q, 'v', revision, 'y', delays, 'd', metadata)
if delays == '1' and head[2] ~= '1' and call('EXISTS', W) > 0 then
  -- What is ready and within its delay is held back; the number stays its score.
  call('ZINTERSTORE', D, 2, R, W, 'WEIGHTS', 1, 0)
  call('ZDIFFSTORE', R, 2, R, D)
elseif delays ~= '1' and head[2] == '1' then
  call('ZUNIONSTORE', R, 2, R, D)
  call('UNLINK', D)
end
return {0}
