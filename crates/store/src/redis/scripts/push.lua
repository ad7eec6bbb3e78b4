-- Puts an item into a user's inbox.
-- KEYS[1] leases  KEYS[2] nodes of the user  KEYS[3] inbox  KEYS[4] bodies
-- ARGV[1] id  ARGV[2] body  ARGV[3] 'offline' if only for users who are  ARGV[4] most items  ARGV[5] how long it is kept, ms
-- Returns as push_item does.
return push_item(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3] == 'offline', ARGV[4], ARGV[5])
