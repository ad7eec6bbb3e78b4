-- Removes a node whose lease has ended and which is in no room any more.
-- KEYS[1] leases  KEYS[2] rooms of that node (set)  KEYS[3] descriptions of nodes
-- ARGV[1] instance
if not lease_runs(KEYS[1], ARGV[1], now_ms()) and redis.call('SCARD', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return 1
