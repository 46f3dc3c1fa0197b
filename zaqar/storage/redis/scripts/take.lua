-- SPDX-License-Identifier: Apache-2.0
-- Takes one request out of the rate of a project, as zaqar/quotas.py does, by the time
-- of this server. KEYS[1] is text: the instant at which the next request would be due;
-- gone when it is over. KEYS[2], in a cluster, a key that never exists.
-- ARGV: requests per second, how many may come at once
-- Reply: how many seconds too early it comes, as text; "0": it is taken

local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local interval = 1 / rate
local furthest = now + burst * interval
local due = tonumber(redis.call('GET', KEYS[1]) or now)
due = math.min(math.max(due, now), furthest)
local early = due + interval - furthest
if early > 1e-6 then
  return string.format('%.17g', early)
end
due = due + interval
redis.call('SET', KEYS[1], string.format('%.17g', due), 'PX',
  math.ceil((due - now) * 1000) + 1)
return '0'
