-- Saves a session under another key, and leaves behind what leads to it.
-- KEYS: the session, what it becomes, and the index of the user if one signs in. ARGV: identity, version that
-- it must have or nothing, milliseconds that it may be idle from now, data, identity that it becomes,
-- milliseconds for which the old key leads to it, milliseconds that it lasts if one signs in, user. Answers 0
-- if the other key is taken, 2 if there is none, 3 if it has another version.
local session = find(KEYS[1], ARGV[1])
if not session then
  return { 2 }
end
if ARGV[2] ~= '' and ARGV[2] ~= text(session.version) then
  return { 3 }
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return { 0 }
end
take(KEYS[1], session)
redis.call('HSET', KEYS[1], 'identity', ARGV[1], 'moved', KEYS[2])
if session.before then
  redis.call('HSET', KEYS[1], 'before', session.before)
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
forget_before(KEYS[2], KEYS[1], leads)
if KEYS[3] then
  session.user, session.index = ARGV[8], KEYS[3]
  session.created, session.ends = now, now + ARGV[7]
end
session.version = session.version + 1
redis.call('HSET', KEYS[2], 'identity', ARGV[5], 'data', ARGV[4], 'before', KEYS[1])
if session.index then
  redis.call('HSET', KEYS[2], 'user', session.user, 'index', session.index)
end
keep(KEYS[2], session, ARGV[3])
return { 1, metadata(session) }
