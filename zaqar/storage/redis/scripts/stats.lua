-- SPDX-License-Identifier: Apache-2.0
-- Counts messages. The legend of the keys is in common.lua.
-- ARGV: now
-- Reply: {0, total, claimed, id and creation of the oldest, id and creation of the
--   newest} (the last four only if there is a message) {1} {2}


-- Returns the outermost message of all states.
local function outermost(command, first)
  local id, best
  for _, key in ipairs({R, C, D}) do
    local found = call(command, key, 0, 0, 'WITHSCORES')
    local number = tonumber(found[2])
    if number and (not best or first == (number < best)) then
      id, best = found[1], number
    end
  end
  local _, _, created = cmsgpack.unpack_limit(call('HGET', M, id), 2, 1)
  return id, string.format('%.17g', created)
end

local total = call('HLEN', M)
if total == 0 then
  return {0, 0, 0}
end
local oldest, since = outermost('ZRANGE', true)
local newest, latest = outermost('ZREVRANGE', false)
return {0, total, call('ZCARD', C), oldest, since, newest, latest}
