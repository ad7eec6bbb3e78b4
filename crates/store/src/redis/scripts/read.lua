-- Reads a page of a log, with the head as of the same moment. A script, since a full Redis refuses to queue transactions.
-- KEYS[1] log  KEYS[2] head of the log
-- ARGV[1] XRANGE or XREVRANGE  ARGV[2], ARGV[3] its bounds  ARGV[4] how many at most
-- Returns {epoch, seq, entries}, or nil if there is no log.
local epoch, seq = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'seq'))
if not epoch then
  return nil
end
return { epoch, seq, redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4]) }
