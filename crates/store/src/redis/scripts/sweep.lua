-- Removes some sockets of one node whose lease in this bucket has ended.
-- KEYS[1] leases  KEYS[2] names of sockets
-- ARGV[1] prefix of the sockets of a node  ARGV[2] prefix of the nodes of a user  ARGV[3] prefix of last seen
-- ARGV[4] prefix of online  ARGV[5] how many sockets at most  ARGV[6] how long last seen is kept, ms
-- The keys that the prefixes make have the bucket's tag, as KEYS have.
-- Returns {} if no lease has ended, else {instance, how many of its sockets are left,
-- end of its lease, scoped user, scoped user, ...}: who went offline by it.
local now = now_ms()
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, 1)
if #dead == 0 then
  return {}
end
local instance, seen = dead[1], string.format('%.0f', tonumber(dead[2]))
local sockets = ARGV[1] .. instance
local answer = { instance, 0, seen }

-- The two parts of a pair: <bytes of the first>:<first><second>
local function split(pair)
  local length, start = string.match(pair, '^(%d+):()')
  return string.sub(pair, start, start + length - 1), string.sub(pair, start + length)
end

local function remove(entry)
  local socket, scoped = split(entry)
  local realm, user = split(scoped)
  one_less(KEYS[2], #realm .. ':' .. realm .. socket)
  local nodes = ARGV[2] .. scoped
  one_less(nodes, instance)
  if is_online(nodes, KEYS[1], now) then
    return
  end
  local online = realm == '' and ARGV[4] or ARGV[4] .. ':' .. realm
  if redis.call('ZREM', online, user) == 1 then
    redis.call('SET', ARGV[3] .. scoped, seen, 'PX', ARGV[6])
    answer[#answer + 1] = scoped
  end
end

for _, entry in ipairs(redis.call('SPOP', sockets, ARGV[5])) do
  remove(entry)
end
answer[2] = redis.call('SCARD', sockets)
return answer
