-- Who sweeps: whoever did before, as long as it keeps asking.
-- KEYS[1] sweeper
-- ARGV[1] instance  ARGV[2] for how long, ms
-- Returns 1 for the elected.
local elected = redis.call('GET', KEYS[1])
if elected and elected ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
