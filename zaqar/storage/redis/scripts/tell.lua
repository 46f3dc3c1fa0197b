-- SPDX-License-Identifier: Apache-2.0
-- Stands behind common.lua in scripts that return messages.

-- Returns what is stored of messages: the packed texts, the claims that hold them and
-- their extras; the latter two are empty if no message of the queue has any.
local function tell(ids)
  if #ids == 0 then
    return {}, {}, {}
  end
  local holders = call('EXISTS', H) > 0 and ask('HMGET', H, ids) or {}
  local extras = call('EXISTS', N) > 0 and ask('HMGET', N, ids) or {}
  return ask('HMGET', M, ids), holders, extras
end

