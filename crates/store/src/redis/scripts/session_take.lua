-- Takes a session out, wherever it is.
-- KEYS[1] nodes with sessions  KEYS[2] the session, detached
-- ARGV[1] id  ARGV[2] prefix of the sessions of a node; the keys that it makes have the bucket's tag, as KEYS have
-- Returns nil, or {socket, user, namespace, room, epoch, seq, room, epoch, seq, ...}.
local found = redis.call('GET', KEYS[2])
if found then
  redis.call('DEL', KEYS[2])
end
for _, instance in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local sessions = ARGV[2] .. instance
  local of_node = redis.call('HGET', sessions, ARGV[1])
  if of_node then
    redis.call('HDEL', sessions, ARGV[1])
    found = of_node
  end
end
if not found or found == 'full' then
  return nil
end
local record = cmsgpack.unpack(found)
local answer = { record[1], record[2], record[3] }
for room, seen in pairs(record[4]) do
  answer[#answer + 1] = room
  answer[#answer + 1] = seen[1]
  answer[#answer + 1] = seen[2]
end
return answer
