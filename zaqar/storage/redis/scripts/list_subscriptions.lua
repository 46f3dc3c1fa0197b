-- SPDX-License-Identifier: Apache-2.0
-- Returns subscriptions in byte order of their ids. The legend is in outbox.lua.
-- ARGV: now, lower bound of the ids (as of ZRANGEBYLEX), limit
-- Reply: {0, ids, packed subscriptions} {1} {2}

local ids = call('ZRANGEBYLEX', IDS, ARGV[2], '+', 'LIMIT', 0, ARGV[3])
return {0, ids, ask('HMGET', SUBSCRIPTIONS, ids)}
