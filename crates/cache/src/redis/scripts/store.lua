-- Stores a value if its fence holds and the tenant has room for it: answers 1 if so, 0 if the fence does not
-- hold, 2 if there is no room.
-- KEYS: epoch, generation, tags…, value, bytes of the tenant. ARGV: fence, field of the schema, milliseconds
-- for which it is fresh, milliseconds for which it is kept, the value, the most bytes of the tenant or 0.
--
-- The bytes of a tenant are a sorted set: each value that takes room, as `bytes time key` with the time at which
-- it was stored, by the time at which it ends; before them all `total`, by the negative sum. It is one key, so
-- that whatever the server loses, the sum is that of what is listed.
local value, bytes = KEYS[#KEYS - 1], KEYS[#KEYS]
local fence = redis.call('HGET', KEYS[1], 'epoch') or ''
for index = 2, #KEYS - 2 do
  fence = fence .. (redis.call('GET', KEYS[index]) or '')
end
fence = fence .. (redis.call('HGET', value, 'nonce') or '')
if fence ~= ARGV[1] then
  return 0
end
local most = tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if most > 0 and #ARGV[5] > most then
  redis.call('HDEL', value, 'lease')
  return 2
end
-- First of all that is written: a server that has no memory left refuses it, and no more after a change.
redis.call('HSET', value, ARGV[2], string.format('%016d', now + ARGV[3]) .. fence .. ARGV[5])
redis.call('HDEL', value, 'lease')
if redis.call('PTTL', value) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', value, ARGV[4])
end
if most == 0 then
  return 1
end

-- What takes room beside a value: its entry here, with the key once more.
local BESIDE = 220
-- How many entries are looked at for one that is stored; as each adds one, it is enough.
local LOOKS = 100

-- Forgets what is known of the room that a key takes.
local function forget(charge, key)
  if charge and redis.call('ZREM', bytes, charge .. ' ' .. key) == 1 then
    redis.call('ZINCRBY', bytes, string.match(charge, '^%d+'), 'total')
  end
end

forget(redis.call('HGET', value, 'charge'), value)
local usage = redis.pcall('MEMORY', 'USAGE', value)
if type(usage) ~= 'number' then
  usage = #ARGV[5] + 2 * #value + BESIDE
end
local charge = string.format('%d %d', usage + #value + BESIDE, now)
local life = redis.call('PTTL', value)
redis.call('HSET', value, 'charge', charge)
redis.call('ZADD', bytes, string.format('%d', now + life), charge .. ' ' .. value)
redis.call('ZINCRBY', bytes, -string.match(charge, '^%d+'), 'total')
-- A load that has begun lets its key live for longer, by ten minutes at most.
if redis.call('PTTL', bytes) < life + 600000 then
  redis.call('PEXPIRE', bytes, life + 600000)
end

local function parse(member)
  return string.match(member, '^(%d+ (%d+)) (.*)$')
end

-- Stores nothing after all.
local function refuse()
  forget(charge, value)
  redis.call('UNLINK', value)
  return 2
end

-- Nothing that it could push out would be enough.
if tonumber(string.match(charge, '^%d+')) > most then
  return refuse()
end
-- What has ended takes no room, unless a load has let it live for longer.
local looks = 0
while looks < LOOKS do
  local first = redis.call('ZRANGE', bytes, 1, 1, 'WITHSCORES')
  if tonumber(first[2]) > now then
    break
  end
  looks = looks + 1
  local of, _, key = parse(first[1])
  local left = redis.call('HGET', key, 'charge') == of and redis.call('PTTL', key) or 0
  if left > 0 then
    redis.call('ZADD', bytes, string.format('%d', now + left), first[1])
  else
    forget(of, key)
  end
end
-- The oldest go, each the oldest of a few that are drawn. By the order of their ends, values of a kind that is
-- kept for a short time would never have room among those that are kept for long.
looks = 0
while tonumber(redis.call('ZSCORE', bytes, 'total')) < -most do
  local oldest, stored_at, its = nil, nil, nil
  for _, member in ipairs(redis.call('ZRANDMEMBER', bytes, 5)) do
    local of, at, key = parse(member)
    if of and key ~= value and (not stored_at or tonumber(at) < stored_at) then
      oldest, stored_at, its = key, tonumber(at), of
    end
  end
  looks = looks + 1
  if not oldest or looks > LOOKS then
    return refuse()
  end
  forget(its, oldest)
  -- What was evicted, and has been loaded since, is another one.
  if redis.call('HGET', oldest, 'charge') == its then
    redis.call('UNLINK', oldest)
  end
end
return 1
