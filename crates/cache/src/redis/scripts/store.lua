-- Stores a value if its fence holds.
-- KEYS: epoch, generation, tags…, value. ARGV: fence, field of the schema, milliseconds for which it is
-- fresh, milliseconds for which it is kept, the value.
local fence = redis.call('HGET', KEYS[1], 'epoch') or ''
for index = 2, #KEYS - 1 do
  fence = fence .. (redis.call('GET', KEYS[index]) or '')
end
local value = KEYS[#KEYS]
fence = fence .. (redis.call('HGET', value, 'nonce') or '')
if fence ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local until_ = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', value, ARGV[2], string.format('%016d', until_) .. fence .. ARGV[5])
redis.call('HDEL', value, 'lease')
if redis.call('PTTL', value) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', value, ARGV[4])
end
return 1
