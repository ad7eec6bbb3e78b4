-- Puts a conversation into a user's list.
-- KEYS[1] list
-- ARGV[1] conversation  ARGV[2] most conversations  ARGV[3] how long the list is kept, ms
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms()), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
