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
--   <r>:p:<pool>   set   entries of the queues that are bound to the pool
--   <r>:quotas     hash  project -> its own quota; only of those that have one
--   <r>:projects   zset  these projects, score 0, in byte order
--   <r>:pulse      text  what a ping writes
--
-- A reply is an array that begins with: 0 done   1 what is stored has another version

local call = redis.call
local DIRECTORY = KEYS[1] .. ':directory'
local NAMES, BINDINGS = KEYS[1] .. ':names', KEYS[1] .. ':bindings'

-- Returns the binding that is stored, its version and pool; only false: there is none.
local function stored(entry)
  local found = call('HGET', BINDINGS, entry)
  if not found then
    return false
  end
  local pool, version = unpack(cmsgpack.unpack(found))
  return found, version, pool
end

-- Returns the key of the queues of a pool.
local function bound_to(pool)
  return KEYS[1] .. ':p:' .. pool
end

