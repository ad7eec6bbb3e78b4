-- Put before every script that asks about leases.

-- Milliseconds since 1970 by the clock of this Redis, so that clocks of nodes don't matter.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function lease_runs(leases, instance, now)
  local ends = redis.call('ZSCORE', leases, instance)
  return ends and tonumber(ends) > now
end

-- Begins a lease if none runs. A lapsed one is not prolonged: part of what it covered may be swept already.
-- Returns 1 if it ran before, 0 if the node must report its sockets again.
local function hold_lease(leases, instance, now, length)
  if lease_runs(leases, instance, now) then
    return 1
  end
  redis.call('ZADD', leases, now + length, instance)
  return 0
end

-- True if any node that is alive has a socket of the user.
local function is_online(user_nodes, leases, now)
  for _, instance in ipairs(redis.call('HKEYS', user_nodes)) do
    if lease_runs(leases, instance, now) then
      return true
    end
  end
  return false
end

-- One less of what a hash counts under a field.
local function one_less(counts, field)
  if redis.call('HINCRBY', counts, field, -1) <= 0 then
    redis.call('HDEL', counts, field)
  end
end
