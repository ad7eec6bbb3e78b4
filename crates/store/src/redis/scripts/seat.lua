-- Gives a socket a seat in a room.
-- KEYS[1] room
-- ARGV[1] seat  ARGV[2] how many seats to answer at most
-- ARGV[3], ARGV[4] bounds of the user's seats, for ZRANGEBYLEX
-- Returns {1 if the user had none, the first seats in the room}.
local had = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[3], ARGV[4], 'LIMIT', 0, 1)
redis.call('ZADD', KEYS[1], 0, ARGV[1])
local seats = {}
if ARGV[2] ~= '0' then
  seats = redis.call('ZRANGEBYLEX', KEYS[1], '-', '+', 'LIMIT', 0, ARGV[2])
end
return { #had == 0 and 1 or 0, seats }
