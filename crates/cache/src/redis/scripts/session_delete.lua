-- Ends a session, or what it has become; answers 1 if there was one.
-- KEYS: the session. ARGV: identity, and the user that it must be of, or nothing.
local key = KEYS[1]
if redis.call('HGET', key, 'identity') ~= ARGV[1] then
  return 0
end
key = follow(key)
local session = read(key)
if not session or (ARGV[2] and ARGV[2] ~= session.user) then
  return 0
end
finish(key, session)
return 1
