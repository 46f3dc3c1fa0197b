-- SPDX-License-Identifier: Apache-2.0
-- Returns messages behind a place. The legend of the keys is in common.lua.
-- ARGV: now, number to go on behind ("": see the next), message id to go on behind,
--   instant since which to repeat if that message is gone ("": it is none of ours),
--   limit, "1" with claimed ones, "1" with delayed ones, "1" to skip a client, client
-- Reply: {0, delays, number of the last message looked at, "1" if it was not the end but
--   enough for one call, ids, packed messages, holders, extras} {1} {2}

local after, id, since = ARGV[2], ARGV[3], ARGV[4]
local limit, skips, client = tonumber(ARGV[5]), ARGV[8] == '1', ARGV[9]
local states = {R}
if ARGV[6] == '1' then
  states[#states + 1] = C
end
if ARGV[7] == '1' then
  states[#states + 1] = D
end

-- Returns the number before the first message that arrived since the instant. Arrivals
-- rise with the numbers but for the difference of clocks, which the caller has allowed
-- for, so each state is searched by halves.
local function place_since(instant)
  local place = tonumber(call('HGET', Q, 's'))
  for _, key in ipairs({R, C, D}) do
    local low, high = 0, call('ZCARD', key)
    while low < high do
      local middle = math.floor((low + high) / 2)
      local found = call('ZRANGE', key, middle, middle)[1]
      local _, _, created, arrived =
        cmsgpack.unpack_limit(call('HGET', M, found), 3, 1)
      if (arrived or created) < instant then
        low = middle + 1
      else
        high = middle
      end
    end
    local first = call('ZRANGE', key, low, low, 'WITHSCORES')[2]
    if first then
      place = math.min(place, tonumber(first) - 1)
    end
  end
  return string.format('%.0f', place)
end

if after == '' then
  for _, key in ipairs({R, C, D}) do
    local number = call('ZSCORE', key, id)
    if number then
      after = number
    end
  end
  if after == '' and since == '' then
    return {0, head[2], '', '0', {}, {}, {}, {}}
  end
  if after == '' then
    after = place_since(tonumber(since))
  end
end

-- Returns up to so many messages of all states behind the place, {number, id} each.
local function behind(place, count)
  local found = {}
  for _, key in ipairs(states) do
    local some = call('ZRANGEBYSCORE', key, '(' .. place, '+inf', 'WITHSCORES',
      'LIMIT', 0, count)
    for i = 1, #some, 2 do
      found[#found + 1] = {tonumber(some[i + 1]), some[i]}
    end
  end
  if #states > 1 then
    table.sort(found, function(one, other) return one[1] < other[1] end)
  end
  return found
end

-- Returns the packed texts of the first of such messages.
local function texts_of(found, count)
  local ids = {}
  for i = 1, math.min(#found, count) do
    ids[i] = found[i][2]
  end
  return ask('HMGET', M, ids)
end

local ids, texts, looked = {}, {}, 0
local step, more = limit, '0'
while #ids < limit do
  if looked >= CHUNK then
    more = '1'
    break
  end
  local found = behind(after, step)
  local packed = texts_of(found, step)
  local place
  for i = 1, math.min(#found, step) do
    local kept = true
    if skips then
      local _, poster = cmsgpack.unpack_limit(packed[i], 1, 1)
      kept = poster ~= client
    end
    place = found[i][1]
    looked = looked + 1
    if kept then
      ids[#ids + 1], texts[#texts + 1] = found[i][2], packed[i]
      if #ids == limit then
        break
      end
    end
  end
  if place then
    after = string.format('%.0f', place)
  end
  if #found < step then
    break
  end
  -- PERF: few skip any, so more is read only when it is needed: reading 100 at once takes
  -- 250 us of the server, reading ten 72.
  step = math.max(limit, 100)
end
return {0, head[2], after, more, ids, tell(ids, texts)}
