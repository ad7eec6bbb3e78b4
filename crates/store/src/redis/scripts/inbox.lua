-- Put before every script that fills inboxes.

-- Puts an item into a user's inbox, in which `most` items wait for up to `kept` ms; with `only_offline`, only for one who is.
-- Returns {1 if the user is online, 1 if the item is in the inbox, how many were dropped}.
local function push_item(leases, nodes, inbox, bodies, id, body, only_offline, most, kept)
  local online = is_online(nodes, leases, now_ms()) and 1 or 0
  if redis.call('HEXISTS', bodies, id) == 1 then
    return { online, 1, 0 }
  end
  if online == 1 and only_offline then
    return { online, 0, 0 }
  end
  -- The first write that needs memory, and the larger one: if Redis has none, nothing has happened.
  redis.call('HSET', bodies, id, body)
  local newest = redis.call('ZREVRANGE', inbox, 0, 0, 'WITHSCORES')[2] or 0
  redis.call('ZADD', inbox, string.format('%.0f', newest + 1), id)
  local excess = redis.call('ZCARD', inbox) - most
  local dropped = excess > 0 and redis.call('ZRANGE', inbox, 0, excess - 1) or {}
  for _, old in ipairs(dropped) do
    redis.call('ZREM', inbox, old)
    redis.call('HDEL', bodies, old)
  end
  redis.call('PEXPIRE', inbox, kept)
  redis.call('PEXPIRE', bodies, kept)
  return { online, 1, #dropped }
end
