-- SPDX-License-Identifier: Apache-2.0
-- Creates the queue, or replaces its settings. The legend of the keys is in common.lua.
-- ARGV: now, revision, delays ("0", "1"), metadata, "1" to create or else "0" and the
--   revision that is expected
-- Reply: {0, 1 if the queue has the revision given} {1} {2} {3, ...}

local now, revision, delays, metadata, creates, expect = unpack(ARGV)
if creates == '1' then
  local stored = call('HGET', Q, 'v')
  if stored then
    return {0, stored == revision and 1 or 0}
  end
  call('HSET', Q, 'v', revision, 'y', delays, 'd', metadata, 's', 0, 't', NEVER,
    'b', revision)
  return {0, 1}
end

local head, reply = open(now)
if not head then
  return reply
end
if head[1] == revision then
  return {0, 1}
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
return {0, 1}
