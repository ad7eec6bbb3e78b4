-- Renews a node's lease and description.
-- KEYS[1] leases  KEYS[2] descriptions of nodes
-- ARGV[1] instance  ARGV[2] length of a lease, ms  ARGV[3] description
-- Returns 1 if the lease was running, 0 if it began now.
local now = now_ms()
local held = hold_lease(KEYS[1], ARGV[1], now, ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return held
