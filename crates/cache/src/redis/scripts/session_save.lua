-- Puts data in the place of what a session has.
-- KEYS: the session. ARGV: identity, version that it must have or nothing, milliseconds that it may be idle
-- from now, data. Answers 2 if there is none, 3 if it has another version.
local session = find(KEYS[1], ARGV[1])
if not session then
  return { 2 }
end
if ARGV[2] ~= '' and ARGV[2] ~= text(session.version) then
  return { 3 }
end
session.version = session.version + 1
redis.call('HSET', KEYS[1], 'data', ARGV[4])
keep(KEYS[1], session, ARGV[3])
return { 1, metadata(session) }
