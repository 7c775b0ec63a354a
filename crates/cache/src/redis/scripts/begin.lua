-- Returns the fence that a load begins under, or nothing if another has the turn to load under it, or has
-- just stored what it gave.
-- KEYS: epoch, generation, tags…, value. ARGV: nonce, milliseconds of a lease, milliseconds to keep
-- generations, identity of the server, field of the schema, time until which a value is known to be fresh.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fence = redis.call('HGET', KEYS[1], 'epoch')
if not fence then
  fence = ARGV[1]
  redis.call('HSET', KEYS[1], 'server', ARGV[4], 'epoch', fence)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for index = 2, #KEYS - 1 do
  local generation = redis.call('GET', KEYS[index])
  if not generation then
    generation = ARGV[1]
    redis.call('SET', KEYS[index], generation)
  end
  redis.call('PEXPIRE', KEYS[index], ARGV[3])
  fence = fence .. generation
end
local value = KEYS[#KEYS]
local nonce = redis.call('HGET', value, 'nonce')
if not nonce then
  nonce = ARGV[1]
  redis.call('HSET', value, 'nonce', nonce)
end
fence = fence .. nonce
local lease = redis.call('HGET', value, 'lease')
if lease and string.sub(lease, 14) == fence and tonumber(string.sub(lease, 1, 13)) > now then
  return false
end
local kept = redis.call('HGET', value, ARGV[5])
if kept and string.sub(kept, 17, 16 + #fence) == fence then
  local fresh = tonumber(string.sub(kept, 1, 16))
  if fresh > now and fresh > tonumber(ARGV[6]) then
    return false
  end
end
redis.call('HSET', value, 'lease', string.format('%013d', now + ARGV[2]) .. fence)
if redis.call('PTTL', value) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', value, ARGV[2])
end
return fence
