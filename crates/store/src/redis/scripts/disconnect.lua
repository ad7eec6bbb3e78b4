-- A socket of a user is closed.
-- KEYS[1] leases  KEYS[2] online  KEYS[3] sockets of this node  KEYS[4] nodes of the user  KEYS[5] last seen
-- KEYS[6] names of sockets
-- ARGV[1] instance  ARGV[2] entry in the node's sockets  ARGV[3] user  ARGV[4] how long last seen is kept, ms
-- ARGV[5] scoped name of the socket
-- Returns {1 if the user was online and no longer is, now in ms, users of this bucket online now}.
local now = now_ms()
if redis.call('SREM', KEYS[3], ARGV[2]) == 1 then
  one_less(KEYS[4], ARGV[1])
  one_less(KEYS[6], ARGV[5])
end
local last = 0
if not is_online(KEYS[4], KEYS[1], now) then
  last = redis.call('ZREM', KEYS[2], ARGV[3])
end
if last == 1 then
  redis.call('SET', KEYS[5], string.format('%.0f', now), 'PX', ARGV[4])
end
return { last, now, redis.call('ZCARD', KEYS[2]) }
