-- Put before every script that publishes.

-- Publishes what ARGV has from `at` on: channel, number of parts, then the parts: 'L' and its bytes, or the name of one of
-- `fills`; and so on.
local function publish(at, fills)
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
end
