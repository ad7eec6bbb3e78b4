-- A session's socket lost its connection: from here on the session has an end of its own.
-- KEYS[1] sessions of this node  KEYS[2] the session, detached
-- ARGV[1] id  ARGV[2] how long it is kept, ms
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], found, 'PX', ARGV[2])
end
return 1
