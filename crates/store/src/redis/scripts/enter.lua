-- Notes that a socket of this node is in a room.
-- KEYS[1] leases  KEYS[2] rooms of this node
-- ARGV[1] instance  ARGV[2] length of a lease, ms  ARGV[3] entry in the node's rooms
-- Returns 1 if this node's lease was running.
local held = hold_lease(KEYS[1], ARGV[1], now_ms(), ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
return held
