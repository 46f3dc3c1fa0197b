-- SPDX-License-Identifier: Apache-2.0
-- Sets a queue free. The legend of the keys is in registry.lua.
-- ARGV: entry, the version that its binding has
-- Reply: {0} {1, packed binding}

local entry, expect = unpack(ARGV)
local found, present = stored(entry)
if found and present ~= expect then
  return {1, found}
end
call('HDEL', BINDINGS, entry)
call('ZREM', NAMES, entry)
return {0}
