-- Instances whose lease has ended.
-- KEYS[1] leases
-- ARGV[1] how many at most
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms()), 'LIMIT', 0, ARGV[1])
