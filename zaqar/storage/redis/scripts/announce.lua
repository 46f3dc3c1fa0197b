-- SPDX-License-Identifier: Apache-2.0
-- Tells at which instants outboxes are looked at.
-- ARGV: holder ("": none) that has none of them; for each: entry, instant ("": never),
--   when this was said
-- Reply: {0}

for at = 2, #ARGV, 3 do
  local entry, instant, said = unpack(ARGV, at, at + 2)
  local known = call('HGET', SAID, entry)
  local is_newer = not known or tonumber(said) >= tonumber(known)
  local score = call('ZSCORE', LIST, entry)
  if instant == '' then
    if is_newer then
      call('ZREM', LIST, entry)
      call('HDEL', SAID, entry)
    end
  elseif is_newer or not score or tonumber(instant) < tonumber(score) then
    call('ZADD', LIST, instant, entry)
    if is_newer then
      call('HSET', SAID, entry, said)
    end
  end
  if ARGV[1] ~= '' then
    call('ZREM', held_by(ARGV[1]), entry)
  end
end
return {0}
