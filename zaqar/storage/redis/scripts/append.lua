-- SPDX-License-Identifier: Apache-2.0
-- Stands behind open.lua in scripts that take in messages of another queue or store.

-- Appends, ready and in their order, those whose ids are not stored. Each of them is
-- {id, packed message, expiry, how often it was claimed}.
local function append(arrivals)
  local ids = {}
  for i, arrival in ipairs(arrivals) do
    ids[i] = arrival[1]
  end
  local number = tonumber(call('HGET', Q, 's'))
  local stored, seen = ask('ZMSCORE', E, ids), {}
  local messages, ready, ends, extras = {}, {}, {}, {}
  for i, id in ipairs(ids) do
    local _, packed, expires, claims = unpack(arrivals[i])
    if not stored[i] and not seen[id] then
      seen[id] = true
      number = number + 1
      messages[#messages + 1] = id
      messages[#messages + 1] = packed
      ready[#ready + 1] = number
      ready[#ready + 1] = id
      ends[#ends + 1] = expires
      ends[#ends + 1] = id
      if claims ~= '0' then
        extras[#extras + 1] = id
        extras[#extras + 1] = claims .. ' '
      end
      if tonumber(expires) < tonumber(head[3]) then
        head[3] = expires
      end
    end
  end
  bulk('HSET', M, messages)
  bulk('ZADD', R, ready)
  bulk('ZADD', E, ends)
  bulk('HSET', N, extras)
  call('HSET', Q, 's', number, 't', head[3])
end

