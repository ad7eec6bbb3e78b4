-- Puts an item into a user's inbox.
-- KEYS[1] leases  KEYS[2] nodes of the user  KEYS[3] inbox  KEYS[4] bodies
-- ARGV[1] id  ARGV[2] body  ARGV[3] 'offline' if only for users who are  ARGV[4] most items  ARGV[5] how long it is kept, ms
-- Returns {1 if the user is online, 1 if the item is in the inbox, how many were dropped}.
local online = is_online(KEYS[2], KEYS[1], now_ms()) and 1 or 0
if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then
  return { online, 1, 0 }
end
if online == 1 and ARGV[3] == 'offline' then
  return { online, 0, 0 }
end
-- The first write that needs memory, and the larger one: if Redis has none, nothing has happened.
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
local newest = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2] or 0
redis.call('ZADD', KEYS[3], string.format('%.0f', newest + 1), ARGV[1])
local excess = redis.call('ZCARD', KEYS[3]) - ARGV[4]
local dropped = excess > 0 and redis.call('ZRANGE', KEYS[3], 0, excess - 1) or {}
for _, id in ipairs(dropped) do
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], id)
end
redis.call('PEXPIRE', KEYS[3], ARGV[5])
redis.call('PEXPIRE', KEYS[4], ARGV[5])
return { online, 1, #dropped }
