-- Gives the turn to load to another. KEYS: value. ARGV: fence.
local lease = redis.call('HGET', KEYS[1], 'lease')
if lease and string.sub(lease, 14) == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'lease')
end
return 1
