-- SPDX-License-Identifier: Apache-2.0
-- Binds a queue to a pool. The legend of the keys is in registry.lua.
-- ARGV: entry, packed binding, its version, its pool, "1" if there has to be one already, the
--   version that this has
-- Reply: {0} {1, packed binding or nil}

local entry, binding, version, pool, exists, expect = unpack(ARGV)
local found, present, before = stored(entry)
if found and present == version then
  return {0}
end
if (found and '1' or '0') ~= exists or (found and present ~= expect) then
  return {1, found}
end
if before then
  call('SREM', bound_to(before), entry)
end
call('SADD', bound_to(pool), entry)
call('HSET', BINDINGS, entry, binding)
call('ZADD', NAMES, 0, entry)
return {0}
