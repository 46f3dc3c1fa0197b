-- SPDX-License-Identifier: Apache-2.0
-- Forgets dead letters that their target has. The legend of the keys is in common.lua.
-- ARGV: life of the queue that they come from, number of the last one
-- Reply: {0}

if call('HGET', Q, 'b') == ARGV[1] then
  call('ZREMRANGEBYSCORE', O, '-inf', ARGV[2])
  if call('EXISTS', O) == 0 then
    call('HDEL', Q, 'g')
  end
end
return {0}
