-- SPDX-License-Identifier: Apache-2.0
-- What the scripts of the list of outboxes share; it stands in front of each of them
-- instead of common.lua.
--
-- KEYS[1] is the list; KEYS[2], in a cluster, a key that never exists. An entry is that of
-- a queue in the index. All keys begin with the first:
--   <o>             zset  entry by the instant at which somebody looks at its outbox: when
--                         something is due first, or when its lease may be over
--   <o>:v           hash  entry -> when that instant was said, in microseconds
--   <o>:h:<holder>  zset  entries that the holder has leased, by the instant at which they
--                         are offered to it again; some may be its own no more
--
-- The outbox itself is the truth. It is looked at once too often, never too late:
-- whoever changes it tells the list afterwards, and of two that do so at the same time an
-- earlier instant counts, or else what was said later.

local call = redis.call
local LIST, SAID = KEYS[1], KEYS[1] .. ':v'

local function held_by(holder)
  return KEYS[1] .. ':h:' .. holder
end

