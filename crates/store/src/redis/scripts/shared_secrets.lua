-- What all nodes agree on. Those in use are always taken, others only when there are none yet.
-- KEYS[1] the secrets (sorted set, all scores 0)  ARGV[1] how many are kept  ARGV[2] 1 if those offered are in use
-- ARGV[3..] secrets offered. Answers all, in the order of their bytes.
if ARGV[2] == '1' or redis.call('ZCARD', KEYS[1]) == 0 then
  for at = 3, #ARGV do
    redis.call('ZADD', KEYS[1], 0, ARGV[at])
  end
  redis.call('ZREMRANGEBYRANK', KEYS[1], ARGV[1], -1)
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
