-- SPDX-License-Identifier: Apache-2.0
-- Appends messages. The legend of the keys is in common.lua.
-- ARGV: revision, the first instant at which one of them ends or becomes visible; then
--   for each: id, packed message, expiry, end of its delay ("": none)
-- Reply: {0} {2} {3, ...}

local head = call('HMGET', Q, 'v', 'y', 't', 's')
if not head[1] then
  return {2}
end
if head[1] ~= ARGV[1] then
  return {3, head[1], head[2], call('HGET', Q, 'd')}
end

local ids = {}
for at = 3, #ARGV, 4 do
  ids[#ids + 1] = ARGV[at]
end
local stored = ask('ZMSCORE', E, ids)
local number, delays = tonumber(head[4]), head[2] == '1'
local messages, ready, back, ends, shown = {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  if not stored[i] then
    local at, n = 4 * i - 1, #messages
    local visible = ARGV[at + 3]
    number = number + 1
    messages[n + 1], messages[n + 2] = id, ARGV[at + 1]
    ends[n + 1], ends[n + 2] = ARGV[at + 2], id
    local place = (delays and visible ~= '') and back or ready
    place[#place + 1] = number
    place[#place + 1] = id
    if visible ~= '' then
      shown[#shown + 1] = visible
      shown[#shown + 1] = id
    end
  end
end
if #messages == 0 then
  return {0}
end
bulk('HSET', M, messages)
bulk('ZADD', E, ends)
bulk('ZADD', R, ready)
bulk('ZADD', D, back)
bulk('ZADD', W, shown)
if tonumber(ARGV[2]) < tonumber(head[3]) then
  call('HSET', Q, 's', number, 't', ARGV[2])
else
  call('HSET', Q, 's', number)
end
return {0}
