-- SPDX-License-Identifier: Apache-2.0
-- Returns bound queues in order. The legend of the keys is in registry.lua.
-- ARGV: bounds of their entries, how many (below Lua's stack)
-- Reply: {0, entries, packed bindings}

local entries = call('ZRANGEBYLEX', NAMES, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
if #entries == 0 then
  return {0, entries, entries}
end
return {0, entries, call('HMGET', BINDINGS, unpack(entries))}
