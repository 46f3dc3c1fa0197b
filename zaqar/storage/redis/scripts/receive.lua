-- SPDX-License-Identifier: Apache-2.0
-- Takes in dead letters of another queue. The legend of the keys is in common.lua.
-- Numbers only rise in each life of a queue, so what is sent again has no effect.
-- ARGV: now, life of the queue they come from; for each: number, id, packed message,
--   expiry
-- Reply: {0} {1} {2}

local source = ARGV[2]
local last = tonumber(call('HGET', Q .. ':i', source) or 0)
local arrivals = {}
for at = 3, #ARGV, 4 do
  local number, id, packed, expires = unpack(ARGV, at, at + 3)
  if tonumber(number) > last then
    arrivals[#arrivals + 1] = {id, packed, expires, '0'}
  end
end
append(arrivals)
call('HSET', Q .. ':i', source, math.max(last, tonumber(ARGV[#ARGV - 3])))
return {0}
