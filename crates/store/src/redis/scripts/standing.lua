-- Put before every script that reads entries.

-- What became of entries of the stream `log`, and of the messages that edits among them are about:
-- {place in the list, standing, body, place, ...}; without those that are as they were written.
local function standings(entries, log, key)
  if #entries == 0 or redis.call('EXISTS', key) == 0 then
    return {}
  end
  local subjects, is_edit = {}, {}
  for i, entry in ipairs(entries) do
    subjects[i] = string.match(entry[1], '^%d+')
    for n = 1, #entry[2], 2 do
      if entry[2][n] == 'k' then
        is_edit[i] = entry[2][n + 1] == 'e'
      elseif entry[2][n] == 'o' and is_edit[i] then
        subjects[i] = string.match(entry[2][n + 1], '^%d+')
      end
    end
  end
  local answer = {}
  for i, standing in ipairs(redis.call('HMGET', key, unpack(subjects))) do
    local kind = standing and string.sub(standing, 1, 1)
    if kind == 'd' or (kind == 'e' and not is_edit[i]) then
      local body = ''
      if kind == 'e' then
        local id = string.sub(standing, 2) .. '-0'
        local edit = redis.call('XRANGE', log, id, id)[1]
        for n = 1, edit and #edit[2] or 0, 2 do
          if edit[2][n] == 'b' then
            body = edit[2][n + 1]
          end
        end
      end
      answer[#answer + 1] = i
      answer[#answer + 1] = standing
      answer[#answer + 1] = body
    end
  end
  return answer
end
