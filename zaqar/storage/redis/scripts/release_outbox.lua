-- SPDX-License-Identifier: Apache-2.0
-- Ends the lease of a holder. The legend is in outbox.lua.
-- ARGV: holder, now
-- Reply: {0, instant at which the list of outboxes looks again ("": never), when this was
--   said} {9}

if call('HGET', U, 'h') ~= ARGV[1] then
  return {9}
end
call('HDEL', U, 'h', 't')
-- Those that wait already come before it.
return {0, look_again(nil, ARGV[2])}
