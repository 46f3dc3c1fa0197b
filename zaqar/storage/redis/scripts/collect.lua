-- SPDX-License-Identifier: Apache-2.0
-- Removes subscriptions that have ended, a chunk at most. The legend is in outbox.lua.
-- ARGV: now
-- Reply: {how many}

return {collect(ARGV[1])}
