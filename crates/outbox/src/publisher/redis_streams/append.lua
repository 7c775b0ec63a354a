-- Appends the messages of one key, all or none, each once within the window.
-- KEYS: the stream, and a mark of each message. ARGV: the most entries (0: any number), the window of marks in
-- milliseconds (0: no marks), and of each message the number of its fields and values, and those.
local stream, most, window = KEYS[1], tonumber(ARGV[1]), ARGV[2]
if redis.call('EXISTS', stream) == 0 then
  return redis.error_reply('MISSING the stream is not there')
end
if most > 0 and redis.call('XLEN', stream) + #KEYS - 1 > most then
  return redis.error_reply('FULL the stream holds all that it may')
end
local at, added = 3, 0
for number = 2, #KEYS do
  local entry = {}
  local last = at + tonumber(ARGV[at])
  for field = at + 1, last do
    entry[#entry + 1] = ARGV[field]
  end
  at = last + 1
  -- A write, so that waiting for replicas waits for all that came before.
  if window == '0' or redis.call('PEXPIRE', KEYS[number], window) == 0 then
    redis.call('XADD', stream, '*', unpack(entry))
    -- After it: where nothing could be added, nothing is there when it comes again.
    if window ~= '0' then
      redis.call('SET', KEYS[number], '1', 'PX', window)
    end
    added = added + 1
  end
end
return added
