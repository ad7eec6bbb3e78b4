-- The leases that run.
-- KEYS[1] leases
-- Returns instance, ms left, instance, ms left, ... ; the longest first.
local now = now_ms()
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES')
local answer = {}
for i = #found - 1, 1, -2 do
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = tonumber(found[i + 1]) - now
end
return answer
