-- Begins another epoch if this server is not the one that the last epoch is of: it may have lost writes.
-- So may whoever comes from another server have told that one of what this one has not heard.
-- KEYS: epoch. ARGV: identity of the server, nonce, milliseconds to keep the epoch, 1 if who asks comes from
-- another server, channel of invalidations, message that tells of another epoch.
-- First, for it asks for no memory: after it, a server that has none left takes the rest as well.
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if ARGV[4] == '1' or redis.call('HGET', KEYS[1], 'server') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'server', ARGV[1], 'epoch', ARGV[2])
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
