-- SPDX-License-Identifier: Apache-2.0
-- Lets a claim begin anew. The legend of the keys is in common.lua.
-- ARGV: now, claim, ttl, end of the claim, longer ttl of messages, longer expiry
-- Reply: {0} {1} {2} {6}

local now, claim, ttl, ends, longer, expires = unpack(ARGV)
if call('HEXISTS', L, claim) == 0 then
  return {6}
end
call('HSET', L, claim, ttl .. ' ' .. now)
call('ZADD', X, ends, claim)
stir(head, ends)
lengthen(call('ZRANGE', Q .. ':k:' .. claim, 0, -1), ends, longer, expires)
return {0}
