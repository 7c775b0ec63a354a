-- Returns the sessions of a user, of which those first that expire last: key, version and times.
-- KEYS: the index of the user. ARGV: how many at most.
local listed = {}
for _, key in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  local session = read(key)
  if session and session.index == KEYS[1] then
    listed[#listed + 1] = { key, metadata(session) }
  end
end
return listed
