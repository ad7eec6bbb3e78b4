-- A socket of a user is open.
-- KEYS[1] leases  KEYS[2] online  KEYS[3] sockets of this node  KEYS[4] nodes of the user  KEYS[5] names of sockets
-- ARGV[1] instance  ARGV[2] length of a lease, ms  ARGV[3] entry in the node's sockets  ARGV[4] user
-- ARGV[5] scoped name of the socket
-- Returns {1 if the user was offline, 1 if this node's lease was running, users of this bucket online now}.
local held = hold_lease(KEYS[1], ARGV[1], now_ms(), ARGV[2])
if redis.call('SADD', KEYS[3], ARGV[3]) == 1 then
  redis.call('HINCRBY', KEYS[4], ARGV[1], 1)
  redis.call('HINCRBY', KEYS[5], ARGV[5], 1)
end
return { redis.call('ZADD', KEYS[2], 'NX', 0, ARGV[4]), held, redis.call('ZCARD', KEYS[2]) }
