-- What the scripts of sessions share: it stands before each of them.
--
-- A session is a hash with its identity (tenant and hash of the id), user, data, version, and the times in
-- milliseconds: created, seen, ends, expires. It names the key of its user's index, and the index, sorted by
-- when they expire, the keys of its sessions; `before` is the key that leads to it. They are all of one
-- tenant, so that they have the hash tag of the keys that a script is given.
--
-- What an id that was rotated leaves behind is a hash with its identity and `moved`, the key of what it has
-- become; it is a session to none of the scripts.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local function read(key)
  local fields = redis.call(
    'HMGET', key, 'identity', 'user', 'index', 'before', 'version', 'created', 'seen', 'ends', 'expires'
  )
  if not fields[9] or tonumber(fields[9]) <= now then
    return nil
  end
  return {
    identity = fields[1], user = fields[2], index = fields[3], before = fields[4],
    version = tonumber(fields[5]), created = tonumber(fields[6]), seen = tonumber(fields[7]),
    ends = tonumber(fields[8]), expires = tonumber(fields[9]),
  }
end

-- Returns a session if it is of whom it is asked for.
local function find(key, identity)
  local session = read(key)
  if session and session.identity == identity then
    return session
  end
  return nil
end

-- Writes version and times, as of one that was seen now, and lets nothing outlive it.
local function keep(key, session, idle)
  session.seen = now
  session.expires = math.min(session.ends, now + idle)
  redis.call(
    'HSET', key, 'version', text(session.version), 'created', text(session.created), 'seen', text(now),
    'ends', text(session.ends), 'expires', text(session.expires)
  )
  redis.call('PEXPIREAT', key, text(session.expires))
  if session.index then
    redis.call('ZREMRANGEBYSCORE', session.index, '-inf', text(now))
    redis.call('ZADD', session.index, text(session.expires), key)
    local last = redis.call('ZRANGE', session.index, -1, -1, 'WITHSCORES')
    redis.call('PEXPIREAT', session.index, text(tonumber(last[2])))
  end
end

-- How many rotations of a session an id is followed through.
local leads = 8

-- Returns the key that one has become.
local function follow(key)
  for _ = 1, leads do
    local moved = redis.call('HGET', key, 'moved')
    if not moved then
      break
    end
    key = moved
  end
  return key
end

-- Takes away what leads to a key, but the nearest few.
local function forget_before(key, lead, keep)
  local kept = 0
  while lead and redis.call('HGET', lead, 'moved') == key do
    local before = redis.call('HGET', lead, 'before')
    if kept == keep then
      redis.call('DEL', lead)
    else
      kept = kept + 1
    end
    key, lead = lead, before
  end
end

local function take(key, session)
  redis.call('DEL', key)
  if session.index then
    redis.call('ZREM', session.index, key)
  end
end

local function finish(key, session)
  take(key, session)
  forget_before(key, session.before, 0)
end

local function metadata(session)
  return session.version, session.created, session.seen, session.expires
end
