-- Notes where the log ended when a user first took part.
-- KEYS[1] head of the log  KEYS[2] since
-- ARGV[1] user  ARGV[2] most users  ARGV[3] how long it is kept, ms
if redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[2], 'NX', redis.call('HGET', KEYS[1], 'seq') or 0, ARGV[1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
