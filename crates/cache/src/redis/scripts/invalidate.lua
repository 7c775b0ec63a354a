-- Ends values, tags or a tenant, and tells all who listen, by a number that goes up for each tenant.
-- KEYS: number, what is over…. ARGV: channel, milliseconds to keep the number, message.
for index = 2, #KEYS do
  redis.call('UNLINK', KEYS[index])
end
local number = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[1], string.format('%016d', number) .. ARGV[3])
return number
