-- SPDX-License-Identifier: Apache-2.0
-- Returns projects with quotas of their own. The legend of the keys is in registry.lua.
-- ARGV: lower bound of the projects, how many (below Lua's stack)
-- Reply: {0, projects, documents}

local found = call('ZRANGEBYLEX', KEYS[1] .. ':projects', ARGV[1], '+', 'LIMIT', 0,
  ARGV[2])
if #found == 0 then
  return {0, found, found}
end
return {0, found, call('HMGET', KEYS[1] .. ':quotas', unpack(found))}
