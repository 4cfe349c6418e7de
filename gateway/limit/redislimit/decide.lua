-- Decides on a call by all of its limits: it is admitted by each, or nothing is
-- written but what buckets owe.
--
-- KEYS has a key for each limit. ARGV[1] is the replica, behind it come nine
-- arguments for each limit, the first its kind:
--   bucket  rate (tokens a microsecond), burst, take, want, lease, back, known, owed
--           take: tokens of this call; 0 where the cost is known later, which needs
--           more than none. want: tokens to lease beside them. lease, back: the lease
--           that the replica has and what is left of it, which this one replaces.
--           owed: what calls of the replica turned out to cost, which is taken before,
--           also where the call is refused
--   place   limit, place, lifetime, ended, held: places that ended are separated by
--           spaces; so many places are held by the replica at least
--   quota   limit, period, take, seed, seed's period, whether it only counts
-- What is there and is none of ours is taken for nothing: it ends no other call.
-- The answer is whether the call is admitted, the time, and five texts for each limit:
-- 1, 0 or missing; what is left, behind the call where it is admitted; when to come
-- again; when all is back; what is leased, or a quota's period.

local replica = ARGV[1]
local DAY = 86400 * SECOND

-- date is a day, counted from 1970, as a date (Howard Hinnant, "chrono-Compatible
-- Low-Level Date Algorithms"); first is its inverse for the first of a month.
local function date(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local d = doy - math.floor((153 * mp + 2) / 5) + 1
  local m = mp + 3
  if m > 12 then m = m - 12 end
  local y = yoe + era * 400
  if m <= 2 then y = y + 1 end
  return y, m, d
end

local function first(y, m)
  if m > 12 then y, m = y + 1, m - 12 end
  if m <= 2 then y = y - 1 end
  local era = math.floor(y / 400)
  local yoe = y - era * 400
  local mp = m - 3
  if m <= 2 then mp = m + 9 end
  local doy = math.floor((153 * mp + 2) / 5)
  local doe = yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy
  return era * 146097 + doe - 719468
end

-- current is the name of the period that it is in, when that ends, and the name of
-- the next.
local function current(period)
  local days = math.floor(now / DAY)
  local y, m, d = date(days)
  if period == 'day' then
    local ny, nm, nd = date(days + 1)
    return string.format('%04d-%02d-%02d', y, m, d), (days + 1) * DAY, string.format('%04d-%02d-%02d', ny, nm, nd)
  end
  local next = first(y, m + 1)
  local ny, nm = date(next)
  return string.format('%04d-%02d', y, m), next * DAY, string.format('%04d-%02d', ny, nm)
end

local limits, admitted = {}, true

for i = 1, #KEYS do
  local at = 2 + (i - 1) * 9
  local l = {kind = ARGV[at], status = '1', left = 0, retry = 0, reset = 0, extra = ''}
  if l.kind == 'bucket' then
    l.rate, l.burst, l.take = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local want, lease, back = tonumber(ARGV[at + 4]), ARGV[at + 5], tonumber(ARGV[at + 6])
    local b = open(KEYS[i], l.rate, l.burst, ARGV[at + 7])
    l.bucket, l.owed, l.number = b, tonumber(ARGV[at + 8]), lease
    l.tokens, l.leases = b.tokens, ''
    local out = 0 -- leased by other replicas
    for whose, number, amount, ends in string.gmatch(b.leases, '(%S+) (%S+) (%S+) (%S+)') do
      local n, till = tonumber(amount), tonumber(ends)
      if n and till and till > now and till <= now + SECOND then
        if want > 0 and whose == replica then
          if number == lease then l.tokens = math.min(l.burst, l.tokens + math.min(back, n)) end
        else
          out = out + n
          l.leases = l.leases .. ' ' .. whose .. ' ' .. number .. ' ' .. amount .. ' ' .. ends
        end
      end
    end
    l.tokens = math.min(l.tokens, b.most) - l.owed
    l.stays = math.min(b.tokens, b.most) - l.owed -- where the call is refused
    if (l.take > 0 and l.tokens < l.take) or l.tokens <= 0 then
      l.status = '0'
      l.retry = math.max(0, (l.take - l.tokens) / l.rate) + b.at - now + 1
    elseif want > 0 and l.tokens - l.take >= l.burst / 2 then
      l.leased = math.floor(math.min(want, math.floor(l.burst / 100) - out, l.tokens - l.take))
      if l.leased < 1 then l.leased = nil end
    end
    l.has, l.left = l.tokens, l.tokens
    if l.status == '1' then l.left = l.tokens - l.take - (l.leased or 0) end
  elseif l.kind == 'place' then
    l.limit, l.place, l.lifetime, l.ended = tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3]), {}
    local latest = now + l.lifetime
    local held = redis.pcall('ZCOUNT', KEYS[i], '(' .. whole(now), whole(latest))
    if type(held) ~= 'number' then held, l.none = 0, true end
    for place in string.gmatch(ARGV[at + 4], '%S+') do
      l.ended[#l.ended + 1] = place
      local ends = not l.none and tonumber(redis.call('ZSCORE', KEYS[i], place) or 0) or 0
      if ends > now and ends <= latest then held = held - 1 end
    end
    l.has = math.max(0, l.limit - math.max(held, tonumber(ARGV[at + 5])))
    l.left = l.has - 1
    if l.left < 0 then l.status, l.retry = '0', SECOND end
  else
    l.limit, l.take = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3])
    local period, ends, next = current(ARGV[at + 2])
    l.period, l.count = period, nil
    local kept, count = string.match(read(KEYS[i]), '^(%S+) (%S+)$')
    if kept == period or kept == next then l.period, l.count = kept, tonumber(count) end -- a clock may be a little behind
    if not l.count and ARGV[at + 5] == l.period then l.count = tonumber(ARGV[at + 4]) end
    l.extra, l.retry, l.reset = l.period, ends - now, ends - now
    l.keep = math.ceil((ends - now) / 1000) + 86400000
    if not l.count then
      l.status, l.has = 'missing', 0
    else
      l.has = l.limit - l.count
      l.left = l.limit - l.count - l.take
      if ARGV[at + 6] == '' and (l.left < 0 or l.has <= 0) then l.status = '0' end
    end
  end
  if l.status ~= '1' then admitted = false end
  limits[i] = l
end

local answer = {admitted and '1' or '0', whole(now)}
for i = 1, #KEYS do
  local l = limits[i]
  if not admitted then l.left, l.leased = l.has, nil end
  if l.kind == 'bucket' then
    l.reset = math.max(0, (l.burst - l.left) / l.rate)
    l.extra = whole(l.leased or 0)
  end
  if admitted and l.kind == 'bucket' then
    if l.leased then
      l.leases = l.leases .. ' ' .. replica .. ' ' .. whole(tonumber(l.number) + 1) .. ' ' .. whole(l.leased) .. ' ' .. whole(now + SECOND)
    end
    keep(KEYS[i], l.bucket, l.left, l.leases)
  elseif l.kind == 'bucket' and (l.owed > 0 or l.bucket.ahead) then
    keep(KEYS[i], l.bucket, l.stays, l.bucket.leases)
  elseif admitted and l.kind == 'place' then
    if l.none then redis.call('DEL', KEYS[i]) end
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', whole(now))
    for p = 1, #l.ended do redis.call('ZREM', KEYS[i], l.ended[p]) end
    redis.call('ZADD', KEYS[i], whole(now + l.lifetime), l.place)
    redis.call('PEXPIRE', KEYS[i], whole(math.ceil(l.lifetime / 1000) + 2000))
  elseif admitted then
    redis.call('SET', KEYS[i], l.period .. ' ' .. whole(l.count + l.take), 'PX', whole(l.keep))
  end
  for _, text in ipairs({l.status, exact(l.left), whole(l.retry), whole(l.reset), l.extra}) do answer[#answer + 1] = text end
end
return answer
