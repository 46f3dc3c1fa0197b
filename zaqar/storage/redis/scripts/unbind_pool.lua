-- SPDX-License-Identifier: Apache-2.0
-- Sets some queues of a pool free. The legend of the keys is in registry.lua.
-- ARGV: pool, how many at most (below Lua's stack)
-- Reply: {0, how many}

local entries = call('SPOP', bound_to(ARGV[1]), ARGV[2])
if #entries > 0 then
  call('HDEL', BINDINGS, unpack(entries))
  call('ZREM', NAMES, unpack(entries))
end
return {0, #entries}
