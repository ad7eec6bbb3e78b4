-- Numbers a message, stores it and publishes it.
-- KEYS[1] log  KEYS[2] head of the log  KEYS[3] duplicate; absent without a client message id
-- ARGV[1] epoch, should a log begin  ARGV[2] conversation  ARGV[3] sender  ARGV[4] client message id  ARGV[5] timestamp, ms
-- ARGV[6] body  ARGV[7] most entries  ARGV[8] greatest age, ms  ARGV[9] how long a client message id is remembered, ms
-- ARGV[10...] publications: channel, number of parts, then the parts: 'L' and its bytes, or 'S', 'E', 'M' to be filled
-- Returns {seq, epoch, timestamp, 1 if it was a duplicate}.
local TRIM_BY_COUNT, TRIM_BY_AGE = 64, 16 -- at most so many entries per append

if KEYS[3] then
  local sent = redis.call('GET', KEYS[3])
  if sent then
    local seq, epoch, timestamp = string.match(sent, '^(%d+) (%S+) (%S+)$')
    return { seq, epoch, timestamp, 1 }
  end
end

local epoch, last, due = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'seq', 'due'))
if not epoch then
  epoch, last = ARGV[1], 0
  -- Without its head, what is left of a former log has no epoch and numbers of its own.
  redis.call('DEL', KEYS[1])
end
local seq = last + 1
local seq_text = string.format('%.0f', seq)
local id = seq_text .. '-0'

-- The first write that needs memory: if Redis has none, it says so here and nothing has happened.
if KEYS[3] then
  redis.call('XADD', KEYS[1], id, 't', ARGV[5], 's', ARGV[3], 'b', ARGV[6], 'c', ARGV[4])
  redis.call('SET', KEYS[3], seq_text .. ' ' .. epoch .. ' ' .. ARGV[5], 'PX', ARGV[9])
else
  redis.call('XADD', KEYS[1], id, 't', ARGV[5], 's', ARGV[3], 'b', ARGV[6])
end
redis.call('HSET', KEYS[2], 'epoch', epoch, 'seq', seq_text)

-- Trimming. Entries are numbered without gaps, so their count tells the number of the first.
local max_age = tonumber(ARGV[8])
local length = redis.call('XLEN', KEYS[1])
local first = seq - length + 1
local keep = first + math.max(0, math.min(length - ARGV[7], TRIM_BY_COUNT))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not due or length == 1 then
  due = ARGV[5] + max_age
  redis.call('HSET', KEYS[2], 'due', string.format('%.0f', due))
end
if now >= tonumber(due) then
  local next_due = now
  local from = string.format('%.0f', keep)
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', TRIM_BY_AGE)) do
    local expires = entry[2][2] + max_age
    if expires > now then
      next_due = expires
      break
    end
    keep = tonumber(string.match(entry[1], '^%d+')) + 1
  end
  redis.call('HSET', KEYS[2], 'due', string.format('%.0f', next_due))
end
if keep > first then
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', keep))
end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', 2 * max_age))

local fills = {
  S = cmsgpack.pack(seq),
  E = cmsgpack.pack(epoch),
  M = cmsgpack.pack(ARGV[2] .. ':' .. epoch .. ':' .. seq_text),
}
local at = 10
while at <= #ARGV do
  local channel, count = ARGV[at], tonumber(ARGV[at + 1])
  local parts = {}
  at = at + 2
  for i = 1, count do
    if ARGV[at] == 'L' then
      parts[i] = ARGV[at + 1]
      at = at + 2
    else
      parts[i] = fills[ARGV[at]]
      at = at + 1
    end
  end
  redis.call('PUBLISH', channel, table.concat(parts))
end
return { seq_text, epoch, ARGV[5], 0 }
