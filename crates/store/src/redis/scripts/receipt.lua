-- Put before every script that moves receipts.

-- Moves a user's receipt up to `seq`, keeping `most` users and the receipts for `kept` ms. Returns 1 if it moved.
local function move_receipt(receipts, user, seq, most, kept)
  local moved = redis.call('ZADD', receipts, 'GT', 'CH', seq, user)
  if redis.call('ZCARD', receipts) > tonumber(most) then
    redis.call('ZREMRANGEBYRANK', receipts, 0, 0)
  end
  redis.call('PEXPIRE', receipts, kept)
  return moved
end
