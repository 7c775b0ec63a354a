-- Ends all sessions of a user but one, and says how many there were.
-- KEYS: the index of the user. ARGV: the key of the one that stays, or nothing.
local ended = 0
-- Another request may have rotated it.
local except = ARGV[1] ~= '' and follow(ARGV[1])
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local session = key ~= except and read(key)
  if session and session.index == KEYS[1] then
    finish(key, session)
    ended = ended + 1
  end
end
return ended
