-- Removes nodes whose lease has ended: whoever is not listed is as dead as whose lease has ended.
-- KEYS[1] leases  KEYS[2] descriptions of nodes
-- ARGV[1] how many at most
local upto = string.format('%.0f', now_ms())
for _, instance in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZREM', KEYS[1], instance)
  redis.call('HDEL', KEYS[2], instance)
end
return 1
