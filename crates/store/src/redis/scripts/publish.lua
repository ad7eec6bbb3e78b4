-- Put before every script that publishes.

-- Publishes what ARGV has from `at` on: channel, layout, then the literals of the layout; and so on. A layout has a letter a part:
-- 'L' the next literal, 'P' what the publication before has in this place, any other the name of one of `fills`.
local function publish(at, fills)
  local before
  while at <= #ARGV do
    local channel, layout = ARGV[at], ARGV[at + 1]
    local parts = {}
    at = at + 2
    for i = 1, #layout do
      local kind = string.sub(layout, i, i)
      if kind == 'L' then
        parts[i] = ARGV[at]
        at = at + 1
      elseif kind == 'P' then
        parts[i] = before[i]
      else
        parts[i] = fills[kind]
      end
    end
    redis.call('PUBLISH', channel, table.concat(parts))
    before = parts
  end
end
