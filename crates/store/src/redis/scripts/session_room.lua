-- Notes that a session's socket is in a room, or no longer.
-- KEYS[1] sessions of this node
-- ARGV[1] id  ARGV[2] room  ARGV[3] how many rooms at most  ARGV[4], ARGV[5] epoch and seq that it has seen; absent if it left
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found or found == 'full' then
  return 0
end
local record = cmsgpack.unpack(found)
local rooms = record[4]
rooms[ARGV[2]] = ARGV[4] and { ARGV[4], ARGV[5] } or nil
local count = 0
for _ in pairs(rooms) do
  count = count + 1
end
redis.call('HSET', KEYS[1], ARGV[1], count > tonumber(ARGV[3]) and 'full' or cmsgpack.pack(record))
return 1
