-- Takes items out of an inbox.
-- KEYS[1] inbox  KEYS[2] bodies
-- ARGV ids
-- Returns how many there were.
redis.call('ZREM', KEYS[1], unpack(ARGV))
return redis.call('HDEL', KEYS[2], unpack(ARGV))
