-- Removes a lease that has ended and under which nothing is left in this bucket.
-- KEYS[1] leases  KEYS[2] sockets of that node  KEYS[3] rooms of that node
-- ARGV[1] instance
if not lease_runs(KEYS[1], ARGV[1], now_ms()) and redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
