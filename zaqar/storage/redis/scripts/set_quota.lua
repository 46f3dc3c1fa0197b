-- SPDX-License-Identifier: Apache-2.0
-- Stores a project's own quota. The legend of the keys is in registry.lua.
-- ARGV: project, document ("": it has none any more)
-- Reply: {0}

local project, document = unpack(ARGV)
local quotas, projects = KEYS[1] .. ':quotas', KEYS[1] .. ':projects'
if document == '' then
  call('HDEL', quotas, project)
  call('ZREM', projects, project)
else
  call('HSET', quotas, project, document)
  call('ZADD', projects, 0, project)
end
return {0}
