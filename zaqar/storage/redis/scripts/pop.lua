-- SPDX-License-Identifier: Apache-2.0
-- Removes and returns the oldest messages that are ready. The legend of the keys is in
-- common.lua.
-- ARGV: now, limit
-- Reply: {0, ids, packed messages, holders (none), extras} {1} {2}

local oldest, ids = call('ZPOPMIN', R, ARGV[2]), {}
for i = 1, #oldest, 2 do
  ids[#ids + 1] = oldest[i]
end
if #ids == 0 then
  return {0, {}, {}, {}, {}}
end
local values = ask('HMGET', M, ids)
local extras = {}
bulk('HDEL', M, ids)
bulk('ZREM', E, ids)
if call('EXISTS', N, W) > 0 then
  extras = ask('HMGET', N, ids)
  bulk('HDEL', N, ids)
  bulk('ZREM', W, ids)
end
return {0, ids, values, {}, extras}
