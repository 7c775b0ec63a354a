-- Returns a session: user, data, version and times; nothing if there is none.
-- KEYS: the session. ARGV: identity, milliseconds that it may be idle from now, or nothing to leave it.
local session = find(KEYS[1], ARGV[1])
if not session then
  return nil
end
if ARGV[2] ~= '' then
  keep(KEYS[1], session, ARGV[2])
end
return { session.user or '', redis.call('HGET', KEYS[1], 'data') or '', metadata(session) }
