-- SPDX-License-Identifier: Apache-2.0
-- Stands behind common.lua in scripts that return messages.

-- Returns what is stored of messages: the packed texts, the claims that hold them and
-- their extras; the latter two are empty if no message of the queue has any. The texts
-- may be given.
local function tell(ids, texts)
  if #ids == 0 then
    return {}, {}, {}
  end
  local holders = call('EXISTS', H) > 0 and ask('HMGET', H, ids) or {}
  local extras = call('EXISTS', N) > 0 and ask('HMGET', N, ids) or {}
  return texts or ask('HMGET', M, ids), holders, extras
end

