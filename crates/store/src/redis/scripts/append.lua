-- Numbers an entry, stores it and publishes it; perhaps it waits for somebody too.
-- KEYS[1] log  KEYS[2] head of the log  KEYS[3] standings  KEYS[4] changes  KEYS[5] delivered  KEYS[6] read
-- then the duplicate, absent without a client message id; then, if it may have to wait: leases, nodes of the user, inbox,
-- bodies
-- ARGV[1] epoch, should one begin  ARGV[2] conversation  ARGV[3] sender  ARGV[4] client message id  ARGV[5] timestamp, ms
-- ARGV[6] body  ARGV[7] 'm' message, 'e' edit, 'd' deletion  ARGV[8], ARGV[9] epoch and seq of what is changed
-- ARGV[10] body of the item that waits, or ''
-- ARGV[11...] publications: see publish.lua. Fills are S seq, E epoch, M message id, T stamp
-- The same for all calls, and written above this by whoever makes the script:
-- MAX_ENTRIES  MAX_AGE, ms  REMEMBERED how long a client message id is, ms  MAX_RECEIPTS  MAX_ITEMS that wait
-- ITEMS_KEPT, ms  STAMPS their key, or '' for none; of another tag, so never in a Cluster
-- Returns '<seq> <epoch> <timestamp> <1 if it was a duplicate, else 0>', or 'missing' or 'foreign': there is nothing to change,
-- or it is another sender's. One text takes clients less to read than a list.
local TRIM_BY_COUNT, TRIM_BY_AGE = 64, 16 -- at most so many entries per append
local ANCESTORS = 16 -- so many are remembered
local LOST_RECEIPTS = 1000 -- so many are put right when a log branches off
local RECEIPTS_COUNTED = 16 -- after so many entries

local waits = ARGV[10] ~= ''
local duplicate = #KEYS - (waits and 4 or 0) == 7 and KEYS[7]
if duplicate then
  local sent = redis.call('GET', duplicate)
  if sent then
    local seq, epoch, timestamp = string.match(sent, '^(%d+) (%S+) (%S+)$')
    return seq .. ' ' .. epoch .. ' ' .. timestamp .. ' 1'
  end
end

local kind, target = ARGV[7], ARGV[9]
if kind ~= 'm' then
  local found = redis.call('XRANGE', KEYS[1], target .. '-0', target .. '-0')[1]
  local fields = {}
  for i = 1, found and #found[2] or 0, 2 do
    fields[found[2][i]] = found[2][i + 1]
  end
  local standing = redis.call('HGET', KEYS[3], target)
  local is_deleted = standing and string.sub(standing, 1, 1) == 'd'
  if fields.e ~= ARGV[8] or fields.k or is_deleted or redis.call('EXISTS', KEYS[2]) == 0 then
    return 'missing'
  end
  if fields.s ~= ARGV[3] then
    return 'foreign'
  end
end

-- Names the history of this Redis: another one after every restart, and after every promotion of a replica. Either may
-- have lost the end of the log. Without permission for INFO nothing is noticed.
local info = redis.pcall('INFO', 'replication')
local run = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
run = string.sub(run, 1, 16)

local epoch, last, due, wrote, past, fresh =
  unpack(redis.call('HMGET', KEYS[2], 'epoch', 'seq', 'due', 'run', 'past', 'fresh'))
local branched = epoch and wrote ~= run
if not epoch then
  epoch, last, past = ARGV[1], 0, nil
  -- Without its head, what is left of a former log has no epoch and numbers of its own.
  redis.call('DEL', KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
elseif branched then
  local kept = { epoch .. ' ' .. last }
  for ancestor in string.gmatch(past or '', '[^,]+') do
    if #kept < ANCESTORS then
      kept[#kept + 1] = ancestor
    end
  end
  epoch, past = ARGV[1], table.concat(kept, ',')
end
local seq = last + 1
local seq_text = string.format('%.0f', seq)
local id = seq_text .. '-0'

-- The place among the entries of all logs. Where a restart would not be noticed, nothing is promised.
local stamp = ''
if STAMPS ~= '' and run ~= '' then
  local stamped, generation = unpack(redis.call('HMGET', STAMPS, 'run', 'generation'))
  if stamped ~= run then
    generation = ARGV[1]
    redis.call('HSET', STAMPS, 'run', run, 'generation', generation)
  end
  stamp = generation .. '.' .. string.format('%.0f', redis.call('HINCRBY', STAMPS, 'number', 1))
end

-- The first write that needs memory: if Redis has none, it says so here and nothing has happened.
local entry = { 't', ARGV[5], 's', ARGV[3], 'b', ARGV[6], 'e', epoch }
if duplicate then
  entry[#entry + 1] = 'c'
  entry[#entry + 1] = ARGV[4]
end
if kind ~= 'm' then
  entry[#entry + 1] = 'k'
  entry[#entry + 1] = kind
  entry[#entry + 1] = 'o'
  entry[#entry + 1] = target .. ' ' .. ARGV[8]
end
if stamp ~= '' then
  entry[#entry + 1] = 'n'
  entry[#entry + 1] = stamp
end
redis.call('XADD', KEYS[1], id, unpack(entry))
if duplicate then
  redis.call('SET', duplicate, seq_text .. ' ' .. epoch .. ' ' .. ARGV[5], 'PX', REMEMBERED)
end

if kind ~= 'm' then
  redis.call('HSET', KEYS[3], target, kind .. seq_text)
  redis.call('ZADD', KEYS[4], seq_text, seq_text)
  redis.call('PEXPIRE', KEYS[3], MAX_AGE)
  redis.call('PEXPIRE', KEYS[4], MAX_AGE)
end

-- Receipts. What was received beyond the branch is lost.
if branched then
  for receipts = 5, 6 do
    local beyond = redis.call('ZRANGEBYSCORE', KEYS[receipts], '(' .. last, '+inf', 'LIMIT', 0, LOST_RECEIPTS)
    for _, user in ipairs(beyond) do
      redis.call('ZADD', KEYS[receipts], last, user)
    end
  end
end
move_receipt(KEYS[5], ARGV[3], seq_text)
move_receipt(KEYS[6], ARGV[3], seq_text)

-- Trimming. Entries are numbered without gaps, so their count tells the number of the first.
local length = redis.call('XLEN', KEYS[1])
local first = seq - length + 1
local keep = first + math.max(0, math.min(length - MAX_ENTRIES, TRIM_BY_COUNT))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local max_age = tonumber(MAX_AGE)
if not due or length == 1 then
  due = ARGV[5] + max_age
end
if now >= tonumber(due) then
  local next_due = now
  local from = string.format('%.0f', keep)
  for _, old in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', TRIM_BY_AGE)) do
    local expires = old[2][2] + max_age
    if expires > now then
      next_due = expires
      break
    end
    keep = tonumber(string.match(old[1], '^%d+')) + 1
  end
  due = next_due
end
if keep > first then
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', keep))
  if redis.call('EXISTS', KEYS[3]) == 1 then
    for trimmed = first, keep - 1 do
      redis.call('HDEL', KEYS[3], string.format('%.0f', trimmed))
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. string.format('%.0f', keep))
  end
end

local head = { 'epoch', epoch, 'seq', seq_text, 'run', run, 'stamp', stamp, 'due', string.format('%.0f', due) }
local function note(field, value)
  head[#head + 1] = field
  head[#head + 1] = value
end
if past then
  note('past', past)
end
if kind == 'm' then
  note('last', seq_text)
  note('at', ARGV[5])
end
-- Expiries are a little later than they need to be, so that not every append has to move them.
local slack = math.floor(max_age / 32)
local stale = length == 1 or now >= tonumber(fresh or 0)
if stale then
  note('fresh', string.format('%.0f', now + slack))
end
redis.call('HSET', KEYS[2], unpack(head))
if stale then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', max_age + slack))
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', 2 * max_age + slack))
end
if stale or seq % RECEIPTS_COUNTED == 0 then
  keep_receipts(KEYS[5], MAX_RECEIPTS, 2 * max_age + slack)
  keep_receipts(KEYS[6], MAX_RECEIPTS, 2 * max_age + slack)
end

local message_id = ARGV[2] .. ':' .. epoch .. ':' .. seq_text
if waits then
  local leases = #KEYS - 3
  local nodes, inbox, bodies = KEYS[leases + 1], KEYS[leases + 2], KEYS[leases + 3]
  push_item(KEYS[leases], nodes, inbox, bodies, message_id, ARGV[10], true, MAX_ITEMS, ITEMS_KEPT)
end
publish(11, {
  S = cmsgpack.pack(seq),
  E = cmsgpack.pack(epoch),
  M = cmsgpack.pack(message_id),
  T = cmsgpack.pack(stamp),
})
return seq_text .. ' ' .. epoch .. ' ' .. ARGV[5] .. ' 0'
