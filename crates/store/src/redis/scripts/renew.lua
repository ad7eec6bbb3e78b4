-- Renews a node's lease in one bucket, and with it the sessions of its sockets.
-- KEYS[1] leases  KEYS[2] nodes with sessions  KEYS[3] sessions of this node
-- ARGV[1] instance  ARGV[2] length of a lease, ms  ARGV[3] how long sessions outlive it, ms
-- Returns 1 if the lease was running, 0 if it began now.
local now = now_ms()
local held = hold_lease(KEYS[1], ARGV[1], now, ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
keep_sessions(KEYS[2], KEYS[3], ARGV[1], now, ARGV[2] + ARGV[3])
return held
