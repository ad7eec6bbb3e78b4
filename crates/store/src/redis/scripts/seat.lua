-- Gives a socket a seat in a room.
-- KEYS[1] room
-- ARGV[1] seat  ARGV[2] how many seats to answer at most
-- Returns the first seats in the room.
redis.call('ZADD', KEYS[1], 0, ARGV[1])
if ARGV[2] == '0' then
  return {}
end
return redis.call('ZRANGEBYLEX', KEYS[1], '-', '+', 'LIMIT', 0, ARGV[2])
