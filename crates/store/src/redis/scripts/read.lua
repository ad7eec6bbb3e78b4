-- Reads a page of a log, with the head as of the same moment. A script, since a full Redis refuses to queue transactions.
-- KEYS[1] log  KEYS[2] head of the log  KEYS[3] standings
-- ARGV[1] XRANGE or XREVRANGE  ARGV[2], ARGV[3] its bounds  ARGV[4] how many at most
-- Returns {epoch, seq, ancestors or '', entries, standings}, or nil if there is no log. See standing.lua.
local epoch, seq, past = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'seq', 'past'))
if not epoch then
  return nil
end
local entries = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
return { epoch, seq, past or '', entries, standings(entries, KEYS[1], KEYS[3]) }
