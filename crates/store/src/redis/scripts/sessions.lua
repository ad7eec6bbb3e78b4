-- Put before every script that works on sessions. A record is {socket, user, namespace, {room -> {epoch, seq}}} in
-- msgpack, or 'full' once it has too many rooms.

-- Sessions of a node are kept for so long from now.
local function keep_sessions(nodes, sessions, instance, now, kept)
  if redis.call('PEXPIRE', sessions, string.format('%.0f', kept)) == 1 then
    redis.call('ZADD', nodes, now + kept, instance)
    redis.call('PEXPIRE', nodes, string.format('%.0f', kept))
  end
  redis.call('ZREMRANGEBYSCORE', nodes, '-inf', string.format('%.0f', now))
end
