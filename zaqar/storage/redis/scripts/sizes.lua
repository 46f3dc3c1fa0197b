-- SPDX-License-Identifier: Apache-2.0
-- Adds up the bytes of some bodies. The legend of the keys is in common.lua.
-- ARGV: now, where to go on (0: at the beginning), about how many messages
-- Reply: {where to go on (0: that was all), bytes of those that live}

local now = tonumber(ARGV[1])
local cursor, found = unpack(call('HSCAN', M, ARGV[2], 'COUNT', ARGV[3]))
local ids = {}
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
end
local ends, size = ask('ZMSCORE', E, ids), 0
for i = 1, #ids do
  if ends[i] and tonumber(ends[i]) > now then
    local message = found[2 * i]
    -- The body is the last of the eight parts: its kind and length are 2, 3 or 5 bytes.
    local at = cmsgpack.unpack_limit(message, 7, 1)
    local kind = message:byte(at + 1)
    local head = kind == 0xc4 and 2 or kind == 0xc5 and 3 or 5
    size = size + #message - at - head
  end
end
return {cursor, string.format('%d', size)}
