-- Applies what became of calls that were admitted. Times are Redis' own, in
-- microseconds.
--
-- KEYS has a key for each change; ARGV has four arguments for each, the first its
-- kind:
--   charge  rate (tokens a microsecond), burst, amount: taken of a bucket, which may
--           come below none
--   count   period, amount: added to a quota's counter, of that period alone
--   raise   period, total: a quota's counter of that period is at least that
--   hold    place, lifetime: a place of concurrency lasts that much longer
--   free    place: it ended

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local KEEP = 60000
local LONGEST = 1000000000000

local function whole(x) return string.format('%.0f', x) end
local function exact(x) return string.format('%.17e', x) end -- with a point: not every Lua reads 1e-08

local function read(key)
  local stored = redis.pcall('GET', key)
  if type(stored) == 'string' then return stored end
  return ''
end

for i = 1, #KEYS do
  local key, at = KEYS[i], 1 + (i - 1) * 4
  local kind, one, two, three = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if kind == 'charge' then
    local rate, burst = tonumber(one), tonumber(two)
    local tokens, leases = burst, ''
    local had, since, rest = string.match(read(key), '^(%S+) (%S+)(.*)$')
    if tonumber(had) and tonumber(since) then
      tokens = math.min(burst, tonumber(had) + math.max(0, now - tonumber(since)) * rate)
      leases = rest
    end
    tokens = tokens - tonumber(three)
    redis.call('SET', key, exact(tokens) .. ' ' .. whole(now) .. leases,
      'PX', whole(math.min(LONGEST, math.ceil((burst - tokens) / rate / 1000) + KEEP)))
  elseif kind == 'count' or kind == 'raise' then
    local period, count = string.match(read(key), '^(%S+) (%S+)$')
    count = tonumber(count)
    if count then
      local total = tonumber(two)
      if kind == 'count' then total = count + total end
      if period == one and total > count then
        redis.call('SET', key, period .. ' ' .. whole(total), 'KEEPTTL')
      end
    end
  elseif kind == 'hold' then
    redis.pcall('ZADD', key, whole(now + tonumber(two)), one)
    redis.pcall('PEXPIRE', key, whole(math.ceil(tonumber(two) / 1000) + 2000))
  elseif kind == 'free' then
    redis.pcall('ZREM', key, one)
  end
end
return #KEYS
