-- SPDX-License-Identifier: Apache-2.0
-- Creates the queue if it is absent. The legend of the keys is in common.lua.
-- ARGV: revision, delays ("0", "1"), metadata
-- Reply: {0, 1 if the queue has the revision given}

local stored = call('HGET', Q, 'v')
if stored then
  return {0, stored == ARGV[1] and 1 or 0}
end
call('HSET', Q, 'v', ARGV[1], 'y', ARGV[2], 'd', ARGV[3], 's', 0, 't', NEVER, 'b', ARGV[1])
return {0, 1}
