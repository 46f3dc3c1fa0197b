-- SPDX-License-Identifier: Apache-2.0
-- Removes a subscription with all that is its own. The legend is in outbox.lua.
-- ARGV: id
-- Reply: {0} {2}

if call('EXISTS', Q) == 0 then
  return {2}
end
forget(ARGV[1])
return {0}
