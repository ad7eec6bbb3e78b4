-- Presence of users of one bucket.
-- KEYS[1] leases  KEYS[2], KEYS[3] nodes and last seen of the first user, KEYS[4], KEYS[5] of the second, ...
-- Returns open sockets and last seen (or nil, as '') of each.
local now = now_ms()
local runs = {}
local answer = {}
for i = 2, #KEYS, 2 do
  local sockets = 0
  local nodes = redis.call('HGETALL', KEYS[i])
  for n = 1, #nodes, 2 do
    local instance = nodes[n]
    if runs[instance] == nil then
      runs[instance] = lease_runs(KEYS[1], instance, now) or false
    end
    if runs[instance] then
      sockets = sockets + nodes[n + 1]
    end
  end
  answer[#answer + 1] = sockets
  answer[#answer + 1] = redis.call('GET', KEYS[i + 1]) or ''
end
return answer
