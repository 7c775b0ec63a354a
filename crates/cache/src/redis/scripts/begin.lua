-- Returns the fence that a load begins under, or nothing if another has the turn to load under it, or has
-- just stored what it gave.
-- KEYS: epoch, generation, tags…, value. ARGV: a nonce of 8 bytes for each key, milliseconds of a lease, milliseconds to keep
-- generations, identity of the server, field of the schema, time until which a value is known to be fresh.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function nonce_of(index)
  return string.sub(ARGV[1], 8 * index - 7, 8 * index)
end
-- A server that has no memory left refuses this, which is written first: it would not store the value either.
if redis.call('HSETNX', KEYS[1], 'epoch', nonce_of(1)) == 1 then
  redis.call('HSET', KEYS[1], 'server', ARGV[4])
end
local fence = redis.call('HGET', KEYS[1], 'epoch')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for index = 2, #KEYS - 1 do
  local generation = redis.call('GET', KEYS[index])
  if not generation then
    generation = nonce_of(index)
    redis.call('SET', KEYS[index], generation)
  end
  redis.call('PEXPIRE', KEYS[index], ARGV[3])
  fence = fence .. generation
end
local value = KEYS[#KEYS]
local nonce = redis.call('HGET', value, 'nonce')
if not nonce then
  nonce = nonce_of(#KEYS)
  redis.call('HSET', value, 'nonce', nonce)
end
fence = fence .. nonce
local lease = redis.call('HGET', value, 'lease')
-- One that ends later than any can was taken before the clock was set back.
if lease and string.sub(lease, 14) == fence then
  local until_ = tonumber(string.sub(lease, 1, 13))
  if until_ > now and until_ <= now + ARGV[2] then
    return false
  end
end
local kept = redis.call('HGET', value, ARGV[5])
if kept and string.sub(kept, 17, 16 + #fence) == fence then
  local fresh = tonumber(string.sub(kept, 1, 16))
  if fresh > now and fresh > tonumber(ARGV[6]) then
    return false
  end
end
redis.call('HSET', value, 'lease', string.format('%013d', now + ARGV[2]) .. fence)
-- For as long as a load may take, and not only its turn.
if redis.call('PTTL', value) < 600000 then
  redis.call('PEXPIRE', value, 600000)
end
return fence
