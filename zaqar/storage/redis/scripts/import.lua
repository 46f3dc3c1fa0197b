-- SPDX-License-Identifier: Apache-2.0
-- Appends messages of another store. The legend of the keys is in common.lua.
-- ARGV: now, name of this import; for each: id, packed message, expiry, how often it was
--   claimed
-- Reply: {0} {1} {2}
-- <q>:p:<name> says that it was done, as in post.lua.

if not call('SET', Q .. ':p:' .. ARGV[2], '', 'NX', 'EX', 30) then
  return {0}
end
local arrivals = {}
for at = 3, #ARGV, 4 do
  arrivals[#arrivals + 1] = {unpack(ARGV, at, at + 3)}
end
append(arrivals)
return {0}
