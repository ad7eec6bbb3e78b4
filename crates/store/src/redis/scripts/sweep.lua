-- Removes some entries of one node whose lease in this bucket has ended.
-- KEYS[1] leases  KEYS[2] online
-- ARGV[1] prefix of the sockets of a node  ARGV[2] prefix of the nodes of a user  ARGV[3] prefix of last seen
-- ARGV[4] how many entries at most  ARGV[5] how long last seen is kept, ms
-- The keys that the prefixes make have the bucket's tag, as KEYS have.
-- Returns {1 if there is more to do, user, last seen, user, last seen, ...}: who went offline by it.
local now = now_ms()
local upto = string.format('%.0f', now)
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto, 'WITHSCORES', 'LIMIT', 0, 1)
if #dead == 0 then
  return { 0 }
end
local instance, seen = dead[1], dead[2]
local sockets = ARGV[1] .. instance
local answer = { 1 }
for _, entry in ipairs(redis.call('SPOP', sockets, ARGV[4])) do
  -- <bytes of the socket>:<socket><user>
  local length, start = string.match(entry, '^(%d+):()')
  local user = string.sub(entry, start + length)
  forget_socket(ARGV[2] .. user, instance)
  if not is_online(ARGV[2] .. user, KEYS[1], now) and redis.call('ZREM', KEYS[2], user) == 1 then
    redis.call('SET', ARGV[3] .. user, seen, 'PX', ARGV[5])
    answer[#answer + 1] = user
    answer[#answer + 1] = seen
  end
end
if redis.call('SCARD', sockets) == 0 then
  redis.call('ZREM', KEYS[1], instance)
  answer[1] = redis.call('ZCOUNT', KEYS[1], '-inf', upto) > 0 and 1 or 0
end
return answer
