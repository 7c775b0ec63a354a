-- Appends the messages of one key, from the first on as many as there is room for, each once within the window, and
-- returns how many of them are there.
-- KEYS: the stream, and a mark of each message. ARGV: the most entries (0: any number), the window of marks in
-- milliseconds (0: no marks), and of each message the number of its fields and values, and those.
local stream, most, window = KEYS[1], tonumber(ARGV[1]), ARGV[2]
if redis.call('EXISTS', stream) == 0 then
  return redis.error_reply('MISSING the stream is not there')
end
local at = 3
for number = 2, #KEYS do
  local entry = {}
  local last = at + tonumber(ARGV[at])
  for field = at + 1, last do
    entry[#entry + 1] = ARGV[field]
  end
  at = last + 1
  -- A write, so that waiting for replicas waits for all that came before.
  if window == '0' or redis.call('PEXPIRE', KEYS[number], window) == 0 then
    if most > 0 and redis.call('XLEN', stream) >= most then
      return number - 2
    end
    redis.call('XADD', stream, '*', unpack(entry))
    -- After it: where nothing could be added, nothing is there when it comes again.
    if window ~= '0' then
      redis.call('SET', KEYS[number], '1', 'PX', window)
    end
  end
end
return #KEYS - 1
