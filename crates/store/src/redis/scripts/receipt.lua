-- Put before every script that moves receipts.

-- Moves a user's receipt up to `seq`. Returns 1 if it moved.
local function move_receipt(receipts, user, seq)
  return redis.call('ZADD', receipts, 'GT', 'CH', seq, user)
end

-- Keeps receipts for `kept` ms, but no more than `most`: those furthest behind go, a bounded number at a time.
local function keep_receipts(receipts, most, kept)
  local excess = redis.call('ZCARD', receipts) - most
  if excess > 0 then
    redis.call('ZREMRANGEBYRANK', receipts, 0, math.min(excess, 100) - 1)
  end
  redis.call('PEXPIRE', receipts, string.format('%.0f', kept))
end
