-- Checks up to four limits, and charges a cost to each of them if it passes all.
-- KEYS: one for each limit. ARGV: cost; 1 to charge, 0 to look, -1 to take back; up to which limit each use
-- is remembered by its own time; then for each limit: how much is allowed, and the window in microseconds.
--
-- The uses of a subject are a list, the oldest first, of `time cost sum`: the sum of all costs up to and with
-- this one, so that what is used is known from both ends. A use is remembered with the time from which on it
-- would have been too late: its own, or the end of the sixtieth of the window that it falls into.
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local cost, mode, exact = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function parse(text)
  if not text then
    return nil
  end
  local at, amount, sum = string.match(text, '(%d+) (%d+) (%d+)')
  return { at = tonumber(at), cost = tonumber(amount), sum = tonumber(sum) }
end

local function text_of(use)
  return string.format('%.0f %.0f %.0f', use.at, use.cost, use.sum)
end

local function use_at(key, index)
  return parse(redis.call('LINDEX', key, index))
end

-- Puts all uses into one, for a clock that was set back, or sums that have grown too large.
local function merge(key, at, used)
  redis.call('DEL', key)
  local use = { at = at, cost = used, sum = used }
  redis.call('RPUSH', key, text_of(use))
  return use, use
end

local limits, passes = {}, true
for index, key in ipairs(KEYS) do
  local most, window = tonumber(ARGV[2 + 2 * index]), tonumber(ARGV[3 + 2 * index])
  local newest = use_at(key, '-1')
  local now = clock
  local oldest = newest and use_at(key, '0')
  while oldest and oldest.at + window <= now do
    redis.call('LPOP', key)
    oldest = use_at(key, '0')
  end
  if not oldest then
    newest = nil
  end
  local used = newest and newest.sum - oldest.sum + oldest.cost or 0
  -- It is ahead by the part that it falls into, or by as much as the clock was set back: it counts for longer
  -- then, but not for ever.
  if newest and (newest.at > now + 2 * window or newest.sum > 4e15) then
    oldest, newest = merge(key, math.min(newest.at, now + window), used)
  end
  local remaining = math.max(most - used, 0)
  local limit = {
    key = key, most = most, window = window, now = now, used = used, remaining = remaining,
    newest = newest, oldest = oldest, wait = 0,
  }
  if mode >= 0 and cost > remaining then
    passes = false
    -- Until the sum of those that are over by then is enough.
    if newest then
      local enough = oldest.sum - oldest.cost + used + cost - most
      local first, last = 0, 0
      -- The oldest is, most often.
      if oldest.sum < enough then
        last = redis.call('LLEN', key) - 1
        first = math.min(1, last)
      end
      while first < last do
        local middle = math.floor((first + last) / 2)
        if use_at(key, middle).sum >= enough then
          last = middle
        else
          first = middle + 1
        end
      end
      local last_of_them = first == 0 and oldest or use_at(key, first)
      limit.wait = math.max(last_of_them.at + window - now, 0)
    end
  end
  limits[index] = limit
end

local answer = { passes and 1 or 0 }
for _, limit in ipairs(limits) do
  local key, newest = limit.key, limit.newest
  if mode == 1 and passes then
    local at = limit.now
    if limit.most > exact then
      local part = math.ceil(limit.window / 60)
      at = (math.floor(at / part) + 1) * part
    end
    local sum = newest and newest.sum or 0
    if newest and newest.at >= at then
      newest = { at = newest.at, cost = newest.cost + cost, sum = sum + cost }
      redis.call('LSET', key, '-1', text_of(newest))
    else
      newest = { at = at, cost = cost, sum = sum + cost }
      redis.call('RPUSH', key, text_of(newest))
    end
    limit.remaining = limit.remaining - cost
  elseif mode == -1 then
    -- The oldest: what is left counts for no less long than the uses that there were.
    local left, oldest = math.min(cost, limit.used), limit.oldest
    while left > 0 and oldest do
      redis.call('LPOP', key)
      local part = math.min(left, oldest.cost)
      left = left - part
      if oldest.cost > part then
        local rest = { at = oldest.at, cost = oldest.cost - part, sum = oldest.sum }
        redis.call('LPUSH', key, text_of(rest))
        oldest = nil
      else
        oldest = use_at(key, '0')
      end
    end
    newest = use_at(key, '-1')
  end
  local reset = newest and math.max(newest.at + limit.window - limit.now, 0) or 0
  if newest then
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(reset / 1000) + 1))
  end
  answer[#answer + 1] = limit.remaining
  answer[#answer + 1] = limit.wait
  answer[#answer + 1] = reset
end
return answer
