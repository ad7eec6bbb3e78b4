-- Notes a value for a while, unless there is one.
-- KEYS[1] the memo (string)  ARGV[1] value  ARGV[2] milliseconds
-- Answers what was there before, or false.
local known = redis.call('GET', KEYS[1])
if not known then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return known
