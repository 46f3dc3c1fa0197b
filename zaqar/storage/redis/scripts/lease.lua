-- SPDX-License-Identifier: Apache-2.0
-- Gives the outbox to a holder. The legend is in outbox.lua.
-- ARGV: now, holder, end of the lease
-- Reply: {0}; {9}: it is the holder's, but nothing is due; {9, instant, when this was
--   said}: it is another's, has nothing due, or is gone: look again at this instant ("":
--   never)

local now, holder, ends = unpack(ARGV)
if call('HEXISTS', Q, 'u') == 0 then
  return {9, look(NEVER)}
end
local lease = call('HMGET', U, 'h', 't')
local runs = lease[1] and tonumber(lease[2]) > tonumber(now)
if runs and lease[1] ~= holder then
  return {9, look(lease[2])}
end
local first = first_due()
if tonumber(first) <= tonumber(now) then
  call('HSET', U, 'h', holder, 't', ends)
  call('HSET', Q, 'u', LEASED)
  return {0}
end
if runs then
  return {9}
end
call('HDEL', U, 'h', 't')
call('HSET', Q, 'u', first)
return {9, look(first)}
