-- SPDX-License-Identifier: Apache-2.0
-- Removes the queue with all it has. The legend of the keys is in common.lua.
-- ARGV: the life that is to end; another one, begun meanwhile, stays
-- Reply: {0} {2}

if call('HGET', Q, 'b') ~= ARGV[1] then
  return {2}
end
local keys = {}
for _, claim in ipairs(call('ZRANGE', X, 0, -1)) do
  keys[#keys + 1] = Q .. ':k:' .. claim
end
for from = 1, #keys, PIECE do
  call('UNLINK', unpack(keys, from, math.min(from + PIECE - 1, #keys)))
end
if call('HEXISTS', Q, 'u') == 1 then
  abandon()
end
call('UNLINK', Q, M, R, D, C, E, W, N, H, L, X, O, Q .. ':i')
return {0}
