-- SPDX-License-Identifier: Apache-2.0
-- Appends messages of another store. The legend of the keys is in common.lua.
-- ARGV: now, name of this import; for each: id, packed message, expiry, how often it was
--   claimed
-- Reply: {0} {1} {2}
-- <q>:p:<name> says that it was done, as in post.lua.

if not call('SET', Q .. ':p:' .. ARGV[2], '', 'NX', 'EX', 30) then
  return {0}
end
local number = tonumber(call('HGET', Q, 's'))
local ids = {}
for at = 3, #ARGV, 4 do
  ids[#ids + 1] = ARGV[at]
end
local stored = ask('ZMSCORE', E, ids)
local messages, ready, ends, extras = {}, {}, {}, {}
local seen = {}
for i, id in ipairs(ids) do
  local at = 4 * i - 1
  if not stored[i] and not seen[id] then
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
    if ARGV[at + 3] ~= '0' then
      extras[#extras + 1] = id
      extras[#extras + 1] = ARGV[at + 3] .. ' '
    end
  end
end
bulk('HSET', M, messages)
bulk('ZADD', R, ready)
bulk('ZADD', E, ends)
bulk('HSET', N, extras)
call('HSET', Q, 's', number, 't', head[3])
return {0}
