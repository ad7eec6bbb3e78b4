-- Renews a node's lease in one bucket.
-- KEYS[1] leases
-- ARGV[1] instance  ARGV[2] length of a lease, ms
-- Returns 1 if the lease was running, 0 if it began now.
local now = now_ms()
local held = hold_lease(KEYS[1], ARGV[1], now, ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return held
