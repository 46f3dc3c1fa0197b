-- SPDX-License-Identifier: Apache-2.0
-- Returns what is due. The legend is in outbox.lua.
-- ARGV: now, how many notices, how many deliveries of each subscription, how many bytes
--   of each of the two; subscriptions whose deliveries are not wanted
-- Reply: {0, messages of notices, notices, {subscription, messages, deliveries, ...},
--   {subscription, packed subscription, ...}, subscriptions that are behind, 1: more was
--   due, and left for its size} {1} {2}

-- Not all of them: there may be more than Lua's stack takes.
local now, notices, most, size = unpack(ARGV, 1, 4)
local cut = 0

-- Returns a portion of bytes (storage/portions.py): what is first fits in any case.
local function portion(bytes)
  return {left = bytes, is_first = true}
end

local function fits(bytes, of)
  return of.is_first or bytes <= of.left
end

local function take(bytes, of)
  of.left, of.is_first = of.left - bytes, false
end

-- Returns the first of some messages, as long as their values in a key fit.
local function fitting(key, messages, mine, all)
  local found = {}
  for i, message in ipairs(messages) do
    local bytes = call('HSTRLEN', key, message)
    if not (fits(bytes, mine) and fits(bytes, all)) then
      all.is_used_up = not fits(bytes, all)
      cut = 1
      break
    end
    take(bytes, mine)
    take(bytes, all)
    found[i] = message
  end
  return found
end

-- Returns the messages of places (number + message).
local function messages_of(places)
  local messages = {}
  for i, place in ipairs(places) do
    messages[i] = place:sub(16)
  end
  return messages
end

local told = fitting(TOLD, messages_of(
  call('ZRANGEBYSCORE', NOTICES, '-inf', now, 'LIMIT', 0, notices)),
  portion(tonumber(size)), portion(tonumber(size)))
local busy, owing, found = {}, {}, {}
for i = 5, #ARGV do
  busy[ARGV[i]] = true
end
for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', now)) do
  if not busy[id] then
    owing[#owing + 1] = id
  end
end
local all = portion(tonumber(size))
-- They begin with another one from time to time.
local first = #owing > 0 and math.floor(tonumber(now) * 1000) % #owing or 0
for turn = 0, #owing - 1 do
  if all.is_used_up then
    break
  end
  local id = owing[(first + turn) % #owing + 1]
  local deliveries, waiting = keys_of(id)
  local messages = fitting(deliveries, messages_of(
    call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, most)),
    portion(math.floor(tonumber(size) / #owing)), all)
  found[#found + 1] = id
  found[#found + 1] = messages
  found[#found + 1] = ask('HMGET', deliveries, messages)
end
return {0, told, ask('HMGET', TOLD, told), found, call('HGETALL', SUBSCRIPTIONS),
  call('HKEYS', UNTRIED), cut}
