-- Begins a session.
-- KEYS: the session, and the index of its user if it has one. ARGV: identity, milliseconds that it lasts,
-- milliseconds that it may be idle, data, user. Answers 0 if the key is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 0 }
end
local session = { version = 1, created = now, ends = now + ARGV[2], index = KEYS[2] }
redis.call('HSET', KEYS[1], 'identity', ARGV[1], 'data', ARGV[4])
if session.index then
  redis.call('HSET', KEYS[1], 'user', ARGV[5], 'index', session.index)
end
keep(KEYS[1], session, ARGV[3])
return { 1, metadata(session) }
