-- Takes rooms that have been tidied off the list of a node whose lease has ended, and says which are next.
-- KEYS[1] leases  KEYS[2] rooms of that node
-- ARGV[1] instance  ARGV[2] how many at most  ARGV[3...] entries whose rooms have been tidied
-- Returns entries; none if the node is back: its entries stay.
if lease_runs(KEYS[1], ARGV[1], now_ms()) then
  return {}
end
if ARGV[3] then
  redis.call('SREM', KEYS[2], unpack(ARGV, 3))
end
return redis.call('SRANDMEMBER', KEYS[2], ARGV[2])
