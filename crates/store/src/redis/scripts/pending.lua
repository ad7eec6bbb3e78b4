-- The oldest items of an inbox.
-- KEYS[1] inbox  KEYS[2] bodies
-- ARGV[1] how many at most  ARGV[2] how many bytes, but at least one item
-- Returns {1 if nothing is behind them, id, body, id, body, ...}.
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1])
local answer, bytes = { 1 }, 0
for i, id in ipairs(ids) do
  local body = redis.call('HGET', KEYS[2], id) or ''
  bytes = bytes + #body
  if i > tonumber(ARGV[1]) or (i > 1 and bytes > tonumber(ARGV[2])) then
    answer[1] = 0
    break
  end
  answer[#answer + 1] = id
  answer[#answer + 1] = body
end
return answer
