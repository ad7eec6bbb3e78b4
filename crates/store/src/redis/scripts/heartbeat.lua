-- Renews a node's lease and description.
-- KEYS[1] leases  KEYS[2] descriptions of nodes  KEYS[3] name of the data
-- ARGV[1] instance  ARGV[2] length of a lease, ms  ARGV[3] description  ARGV[4] name, should there be none
-- Returns {1 if the lease was running, 0 if it began now; name of the data}.
local now = now_ms()
local held = hold_lease(KEYS[1], ARGV[1], now, ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4], 'NX')
return { held, redis.call('GET', KEYS[3]) }
