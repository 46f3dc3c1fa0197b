-- SPDX-License-Identifier: Apache-2.0
-- Replaces the directory. The legend of the keys is in registry.lua.
-- ARGV: document, its version, the version that is expected ("": none)
-- Reply: {0} {1}

local document, version, expect = unpack(ARGV)
local found = call('HGET', DIRECTORY, 'v') or ''
if found == version then
  return {0}
end
if found ~= expect then
  return {1}
end
call('HSET', DIRECTORY, 'v', version, 'd', document)
return {0}
