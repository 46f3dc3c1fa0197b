-- SPDX-License-Identifier: Apache-2.0
-- Binds a queue to a pool. The legend of the keys is in registry.lua.
-- ARGV: entry, packed binding, its version, "1" if there has to be one already, the
--   version that this has
-- Reply: {0} {1, packed binding or nil}

local entry, binding, version, exists, expect = unpack(ARGV)
local found, present = stored(entry)
if found and present == version then
  return {0}
end
if (found and '1' or '0') ~= exists or (found and present ~= expect) then
  return {1, found}
end
call('HSET', BINDINGS, entry, binding)
call('ZADD', NAMES, 0, entry)
return {0}
