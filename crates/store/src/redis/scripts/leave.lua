-- Gives a lease back. It is ended, not removed, while entries are left: the list says what is to be swept.
-- KEYS[1] leases  KEYS[2] entries of this node (set)  KEYS[3] descriptions of nodes, or absent
-- ARGV[1] instance  ARGV[2] how long entries still count, ms
if redis.call('SCARD', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now_ms() + ARGV[2], ARGV[1])
end
if KEYS[3] then
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return 1
