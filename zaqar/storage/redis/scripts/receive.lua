-- SPDX-License-Identifier: Apache-2.0
-- Takes in dead letters of another queue. The legend of the keys is in common.lua.
-- Numbers only rise in each life of a queue, so what is sent again has no effect.
-- ARGV: now, life of the queue they come from; for each: number, id, packed message,
--   expiry
-- Reply: {0} {1} {2}

local source = ARGV[2]
local last = tonumber(call('HGET', Q .. ':i', source) or 0)
local number = tonumber(call('HGET', Q, 's'))
local ids = {}
for at = 4, #ARGV, 4 do
  ids[#ids + 1] = ARGV[at]
end
local stored = ask('ZMSCORE', E, ids)
local messages, ready, ends = {}, {}, {}
local seen = {}
for i, id in ipairs(ids) do
  local at = 4 * i
  if tonumber(ARGV[at - 1]) > last and not stored[i] and not seen[id] then
    seen[id] = true
    number = number + 1
    messages[#messages + 1] = id
    messages[#messages + 1] = ARGV[at + 1]
    ready[#ready + 1] = number
    ready[#ready + 1] = id
    ends[#ends + 1] = ARGV[at + 2]
    ends[#ends + 1] = id
    if tonumber(ARGV[at + 2]) < tonumber(head[3]) then
      head[3] = ARGV[at + 2]
    end
  end
end
bulk('HSET', M, messages)
bulk('ZADD', R, ready)
bulk('ZADD', E, ends)
call('HSET', Q, 's', number, 't', head[3])
call('HSET', Q .. ':i', source, math.max(last, tonumber(ARGV[#ARGV - 3])))
return {0}
