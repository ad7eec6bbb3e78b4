-- Moves a user's receipts.
-- KEYS[1] head of the log  KEYS[2], KEYS[3]... the receipts, what counts last
-- ARGV[1] user  ARGV[2] seq  ARGV[3] most receipts  ARGV[4] how long they are kept, ms
-- Returns 1 if the last of them moved.
local newest = redis.call('HGET', KEYS[1], 'seq')
local seq = math.min(tonumber(newest or 0), tonumber(ARGV[2]))
if seq == 0 then
  return 0
end
local moved = 0
for i = 2, #KEYS do
  moved = move_receipt(KEYS[i], ARGV[1], string.format('%.0f', seq))
  keep_receipts(KEYS[i], ARGV[3], ARGV[4])
end
return moved
