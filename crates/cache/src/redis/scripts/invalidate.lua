-- Ends values, tags or a tenant, and tells all who listen, by a number that goes up for each tenant.
-- KEYS: number, bytes of the tenant, what is over…, values first. ARGV: channel, milliseconds to keep the
-- number, message, how many values.
-- What is over goes first: it asks for no memory, and after it a server that has none left takes the rest too.
for index = 3, #KEYS do
  local key = KEYS[index]
  local charge = index < 3 + ARGV[4] and redis.call('HGET', key, 'charge')
  if charge and redis.call('ZREM', KEYS[2], charge .. ' ' .. key) == 1 then
    redis.call('ZINCRBY', KEYS[2], string.match(charge, '^%d+'), 'total')
  end
  redis.call('UNLINK', key)
end
local number = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[1], string.format('%016d', number) .. ARGV[3])
return number
