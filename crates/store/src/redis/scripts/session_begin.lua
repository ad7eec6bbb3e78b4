-- Remembers a session of this node.
-- KEYS[1] nodes with sessions  KEYS[2] sessions of this node  KEYS[3] the session, detached
-- ARGV[1] instance  ARGV[2] id  ARGV[3] how long sessions are kept without a heartbeat, ms
-- ARGV[4] socket  ARGV[5] user  ARGV[6] namespace  ARGV[7...] room, epoch, seq, room, epoch, seq, ...
local rooms = {}
for i = 7, #ARGV, 3 do
  rooms[ARGV[i]] = { ARGV[i + 1], ARGV[i + 2] }
end
local known = redis.call('EXISTS', KEYS[2])
redis.call('HSET', KEYS[2], ARGV[2], cmsgpack.pack({ ARGV[4], ARGV[5], ARGV[6], rooms }))
redis.call('DEL', KEYS[3])
if known == 0 then
  keep_sessions(KEYS[1], KEYS[2], ARGV[1], now_ms(), tonumber(ARGV[3]))
end
return 1
