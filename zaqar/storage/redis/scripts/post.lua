-- SPDX-License-Identifier: Apache-2.0
-- Appends messages. The legend of the keys is in common.lua.
-- ARGV: name of this post, revision, the first instant at which one of them ends or
--   becomes visible; for each: id, packed message, expiry, end of its delay ("": none)
-- Reply: {0} {2} {3, ...}; where the list of outboxes has to be told, {0, instant at which
--   it looks at this one, when this was said}
-- <q>:p:<name> says for as long as the service may repeat a post, or the network deliver
-- it late, that it was done: others may have taken the messages since. A queue that
-- somebody watches (u, see outbox.lua) also gets a notice of each message.

local done = Q .. ':p:' .. ARGV[1]

local head = call('HMGET', Q, 'v', 'y', 't', 's', 'u')

-- Returns the reply that has the list of outboxes told of an instant.
local function told(instant)
  if not instant or instant == '-1' or instant == NEVER then
    return {0}
  end
  local time = call('TIME')
  return {0, instant, time[1] .. string.format('%06d', time[2])}
end

if head[1] ~= ARGV[2] then
  if call('EXISTS', done) == 1 then
    return told(head[5])
  end
  if not head[1] then
    return {2}
  end
  return {3, head[1], head[2], call('HGET', Q, 'd')}
end
if not call('SET', done, '', 'NX', 'EX', 30) then
  return told(head[5])
end

local number, delays = tonumber(head[4]), head[2] == '1'
local messages, ready, back, ends, shown = {}, {}, {}, {}, {}
local stored = {}
if #ARGV > 7 then
  local ids = {}
  for at = 4, #ARGV, 4 do
    ids[#ids + 1] = ARGV[at]
  end
  stored = ask('ZMSCORE', E, ids)
else
  stored[1] = call('ZSCORE', E, ARGV[4])
end
for at = 4, #ARGV, 4 do
  if not stored[at / 4] then
    local id, visible, n = ARGV[at], ARGV[at + 3], #messages
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
if tonumber(ARGV[3]) < tonumber(head[3]) then
  call('HSET', Q, 's', number, 't', ARGV[3])
else
  call('HSET', Q, 's', number)
end
if not head[5] then
  return {0}
end

local U = Q .. ':u'
local NOTICES, TOLD = U .. ':n', U .. ':m'
local _, _, now = cmsgpack.unpack_limit(ARGV[5], 2, 1)
-- Notices stay in the order of the messages, though clocks of services differ.
now = string.format('%.17g', math.max(now, tonumber(call('HGET', U, 'l') or 0)))
call('HSET', U, 'l', now)
local ids, notices, places, first = {}, {}, {}, head[5]
for i = 1, #messages, 2 do
  ids[#ids + 1] = messages[i]
end
local before, new = ask('HMGET', TOLD, ids), 0
for at = 4, #ARGV, 4 do
  if not stored[at / 4] then
    new = new + 1
    -- One that is posted again after it was taken is told once all the same.
    if not before[new] then
      local place, shown_at = number - #ids + new, delays and ARGV[at + 3] or ''
      local due, n = shown_at ~= '' and shown_at or now, #notices
      notices[n + 1] = ids[new]
      notices[n + 2] = place .. ' ' .. shown_at .. ' ' .. ARGV[at + 1]
      places[n + 1], places[n + 2] = due, string.format('%015d', place) .. ids[new]
      if tonumber(due) < tonumber(first) then
        first = due
      end
    end
  end
end
bulk('HSET', TOLD, notices)
bulk('ZADD', NOTICES, places)
if first == head[5] then
  return {0}
end
call('HSET', Q, 'u', first)
return told(first)
