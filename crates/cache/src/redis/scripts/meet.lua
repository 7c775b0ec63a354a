-- Begins another epoch if this server is not the one that the last epoch is of: it may have lost writes.
-- KEYS: epoch. ARGV: identity of the server, nonce, milliseconds to keep the epoch.
if redis.call('HGET', KEYS[1], 'server') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'server', ARGV[1], 'epoch', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
