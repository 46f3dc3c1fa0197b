-- SPDX-License-Identifier: Apache-2.0
-- Sets a queue free. The legend of the keys is in registry.lua.
-- ARGV: entry, the version that its binding has
-- Reply: {0} {1, packed binding}

local entry, expect = unpack(ARGV)
local found, present, pool = stored(entry)
if not found then
  return {0}
end
if present ~= expect then
  return {1, found}
end
call('SREM', bound_to(pool), entry)
call('HDEL', BINDINGS, entry)
call('ZREM', NAMES, entry)
return {0}
