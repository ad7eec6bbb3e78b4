-- Replaces the content of a document and publishes that.
-- KEYS[1] document
-- ARGV[1] content  ARGV[2] version to be replaced, or ''  ARGV[3] how long it is kept, ms
-- ARGV[4...] publications: see publish.lua. Fills are S version; E, M, T empty
-- Returns {1, version, ''}, or {0, version, content} if it has another version.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if ARGV[2] ~= '' and ARGV[2] ~= version then
  return { 0, version, redis.call('HGET', KEYS[1], 'content') or '' }
end
version = string.format('%.0f', version + 1)
redis.call('HSET', KEYS[1], 'content', ARGV[1], 'version', version)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local empty = cmsgpack.pack('')
publish(4, { S = cmsgpack.pack(tonumber(version)), E = empty, M = empty, T = empty })
return { 1, version, '' }
