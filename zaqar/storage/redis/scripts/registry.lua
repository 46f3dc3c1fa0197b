-- SPDX-License-Identifier: Apache-2.0
-- What the scripts of the registry share; it stands in front of each of them instead of
-- common.lua.
--
-- KEYS[1] is the registry; KEYS[2], in a cluster, a key that never exists. All its keys
-- begin with the first, so they have its hash tag and its slot:
--   <r>:directory  hash  v version; d document; absent before the first write
--   <r>:names      zset  an entry of each bound queue, score 0: each project's together,
--                        in byte order of the names
--   <r>:bindings   hash  entry -> its binding, a MessagePack array: pool, version
--   <r>:pulse      text  what a ping writes
--
-- A reply is an array that begins with: 0 done   1 what is stored has another version

local call = redis.call
local DIRECTORY = KEYS[1] .. ':directory'
local NAMES, BINDINGS = KEYS[1] .. ':names', KEYS[1] .. ':bindings'

-- Returns the binding that is stored and its version; false and nil: there is none.
local function stored(entry)
  local found = call('HGET', BINDINGS, entry)
  return found, found and cmsgpack.unpack(found)[2]
end

