-- What all nodes agree on: the first proposal stays.
-- KEYS[1] the secret (string)  ARGV[1] proposal
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
