-- SPDX-License-Identifier: Apache-2.0
-- What scripts share that make or renew a claim; stands behind common.lua.

-- Gives those that would expire before the end of their claim the longer ttl.
local function lengthen(ids, ends, ttl, expires)
  local till = tonumber(ends)
  local soonest = call('ZRANGE', E, 0, 0, 'WITHSCORES')[2]
  if not soonest or tonumber(soonest) >= till then
    return
  end
  local scores = ask('ZMSCORE', E, ids)
  local longer, instants = {}, {}
  for i, id in ipairs(ids) do
    if scores[i] and tonumber(scores[i]) < till then
      longer[#longer + 1] = id
      instants[#instants + 1] = expires
      instants[#instants + 1] = id
    end
  end
  local extras, changed = ask('HMGET', N, longer), {}
  for i, id in ipairs(longer) do
    changed[#changed + 1] = id
    changed[#changed + 1] = (extras[i] or '0 '):match('^%d+') .. ' ' .. ttl
  end
  bulk('ZADD', E, instants)
  bulk('HSET', N, changed)
end

-- Lets the queue wake at this instant, if not before.
local function stir(head, instant)
  if tonumber(instant) < tonumber(head[3]) then
    call('HSET', Q, 't', instant)
    head[3] = instant
  end
end

