-- Removes what every group has read and acknowledged; without a group, nothing.
local function parts(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time), tonumber(number)
end
local lowest, low_time, low_number = nil, nil, nil
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local told = {}
  for index = 1, #group, 2 do
    told[group[index]] = group[index + 1]
  end
  local id = told['last-delivered-id']
  local pending = redis.call('XPENDING', KEYS[1], told['name'])
  if pending[1] > 0 then
    id = pending[2]
  end
  local time, number = parts(id)
  if not lowest or time < low_time or (time == low_time and number < low_number) then
    lowest, low_time, low_number = id, time, number
  end
end
if not lowest then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', lowest)
