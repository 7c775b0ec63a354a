-- Checks up to four limits, and charges a cost to each of them if it passes all.
-- KEYS: one for each limit. ARGV: cost; 1 to charge, 0 to look, -1 to take back; up to which limit each use
-- is remembered by its own time; then for each limit: how much is allowed, and the window in microseconds.
--
-- The uses of a subject are a list, the oldest first, of a time, a cost and a sum: that of all costs up to and
-- with this one, so that what is used is known from both ends. A use is remembered with the time from which on
-- it would have been too late: its own, or the end of the sixtieth of the window that it falls into.
-- The newest tells of the oldest as well: where nothing is over, a decision reads and writes the newest alone.
--
-- It is written for few tables, functions and numbers that become texts: each takes as long as a command.
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local use = '>dddddd'

local time = call('TIME')
local clock = time[1] * 1000000 + time[2]
local cost, mode, exact = ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0

local function use_at(key, index)
  local packed = call('LINDEX', key, index)
  if packed and #packed == 48 then
    return unpack(use, packed)
  elseif packed then
    -- Of another form: it counts as one that was evicted.
    call('DEL', key)
  end
end

local count, passes, limits = #KEYS, true, {}
local answer = { 1, 0, 0, 0 }
for i = 1, count do
  local key, most, window = KEYS[i], ARGV[2 + 2 * i] + 0, ARGV[3 + 2 * i] + 0
  -- Of the newest, and of the oldest.
  local at, amount, sum, first_at, first_amount, first_sum = use_at(key, '-1')
  if at and first_at <= clock - window then
    -- What is over goes.
    repeat
      call('LPOP', key)
      first_at, first_amount, first_sum = use_at(key, '0')
    until not first_at or first_at > clock - window
    if first_at then
      call('LSET', key, '-1', pack(use, at, amount, sum, first_at, first_amount, first_sum))
    else
      at = nil
    end
  end
  local used = at and sum - first_sum + first_amount or 0
  if at and (at > clock + 2 * window or sum > 4e15) then
    -- It is ahead by the part that it falls into, or by as much as the clock was set back: it counts for
    -- longer then, but not for ever. All uses become one, also where sums have grown too large.
    at, amount, sum = min(at, clock + window), used, used
    first_at, first_amount, first_sum = at, used, used
    call('DEL', key)
    call('RPUSH', key, pack(use, at, used, used, at, used, used))
    call('PEXPIRE', key, ceil(max(at + window - clock, 0) / 1000) + 1)
  end
  local remaining, wait = most - used, 0
  if remaining < 0 then
    remaining = 0
  end
  if mode >= 0 and cost > remaining then
    passes = false
    if at then
      -- Until the sum of those that are over by then is enough. That of the oldest is, most often.
      local enough, last_at = first_sum - first_amount + used + cost - most, first_at
      if first_sum < enough then
        local last = call('LLEN', key) - 1
        local first = min(1, last)
        while first < last do
          local middle = floor((first + last) / 2)
          local _, _, sum_there = use_at(key, middle)
          if sum_there >= enough then
            last = middle
          else
            first = middle + 1
          end
        end
        last_at = use_at(key, first)
      end
      wait = max(last_at + window - clock, 0)
    end
  end
  limits[i] = { at, amount, sum, first_at, first_amount, first_sum, most, window, used }
  answer[3 * i - 1] = remaining
  answer[3 * i] = wait
  answer[3 * i + 1] = at and at + window - clock or 0
end

if not passes then
  answer[1] = 0
elseif mode ~= 0 then
  for i = 1, count do
    local key, limit = KEYS[i], limits[i]
    local at, amount, sum, window = limit[1], limit[2], limit[3], limit[8]
    local first_at, first_amount, first_sum = limit[4], limit[5], limit[6]
    if mode == 1 then
      local now = clock
      if limit[7] > exact then
        local part = (window + 59 - (window + 59) % 60) / 60
        now = clock - clock % part + part
      end
      local is_joined = at and at >= now
      if not at then
        first_at, first_amount, first_sum, sum = now, cost, cost, 0
      elseif is_joined and first_sum == sum then
        first_amount, first_sum = first_amount + cost, first_sum + cost
      end
      if is_joined then
        call('LSET', key, '-1', pack(use, at, amount + cost, sum + cost, first_at, first_amount, first_sum))
      else
        at = now
        call('RPUSH', key, pack(use, at, cost, sum + cost, first_at, first_amount, first_sum))
        call('PEXPIRE', key, ceil((at + window - clock) / 1000) + 1)
      end
      answer[3 * i - 1] = answer[3 * i - 1] - cost
    elseif at then
      -- From the oldest: what is left counts for no less long than the uses that there were.
      local left = min(cost, limit[9])
      while left > 0 and first_at do
        if first_amount > left then
          first_amount, left = first_amount - left, 0
          call('LSET', key, '0', pack(use, first_at, first_amount, first_sum, first_at, first_amount, first_sum))
        else
          left = left - first_amount
          call('LPOP', key)
          first_at, first_amount, first_sum = use_at(key, '0')
        end
      end
      if not first_at then
        at = nil
      else
        if first_sum == sum then
          amount = first_amount
        end
        call('LSET', key, '-1', pack(use, at, amount, sum, first_at, first_amount, first_sum))
      end
    end
    answer[3 * i + 1] = at and at + window - clock or 0
  end
end
return answer
