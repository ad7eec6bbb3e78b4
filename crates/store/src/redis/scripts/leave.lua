-- Gives a lease back. It is ended, not removed, while entries are left: the list says what is to be swept.
-- KEYS[1] leases  KEYS[2], KEYS[3] entries of this node (sets), or KEYS[2] descriptions of nodes
-- ARGV[1] instance  ARGV[2] how long entries still count, ms
if ARGV[2] == '0' and not KEYS[3] or KEYS[3] and redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now_ms() + ARGV[2], ARGV[1])
end
if not KEYS[3] then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return 1
