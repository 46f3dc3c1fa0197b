-- SPDX-License-Identifier: Apache-2.0
-- Ends a claim and sets its messages free. The legend of the keys is in common.lua.
-- ARGV: now, claim
-- Reply: {0} {1} {2}

if call('HEXISTS', L, ARGV[2]) == 1 then
  local _, free = upkeep()
  free(ARGV[2], head[2] == '1')
end
return {0}
