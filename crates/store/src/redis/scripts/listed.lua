-- What is new in a conversation, for one user.
-- KEYS[1] log  KEYS[2] head of the log  KEYS[3] standings  KEYS[4] changes  KEYS[5] read  KEYS[6] since
-- ARGV[1] user
-- Returns {epoch or '', seq, unread, entries: the newest message or nothing, standings}.
local epoch, seq, last = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'seq', 'last'))
if not epoch then
  return { '', 0, 0, {}, {} }
end
local read = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[1]) or 0)
local since = tonumber(redis.call('ZSCORE', KEYS[6], ARGV[1]) or 0)
local seen = math.min(math.max(read, since), seq)
local changes = redis.call('ZCOUNT', KEYS[4], '(' .. string.format('%.0f', seen), '+inf')
local entries = last and redis.call('XRANGE', KEYS[1], last .. '-0', last .. '-0') or {}
return { epoch, seq, seq - seen - changes, entries, standings(entries, KEYS[1], KEYS[3]) }
