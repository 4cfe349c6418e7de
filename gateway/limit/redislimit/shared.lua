-- What both scripts begin with. All times are Redis' own, in microseconds.
--
-- A bucket is stored as its tokens, the time that they are of, and of each lease the
-- replica, its number, its amount and its end.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local SECOND = 1000000
local KEEP = 60000 -- milliseconds that a bucket is kept when it is full again
local LONGEST = 1000000000000 -- milliseconds that anything is kept, some thirty years

local function whole(x) return string.format('%.0f', x) end
local function exact(x) return string.format('%.17e', x) end -- with a point: not every Lua reads 1e-08

-- read is a text that is stored; '' where there is none.
local function read(key)
  local stored = redis.pcall('GET', key)
  if type(stored) == 'string' then return stored end
  return ''
end

-- open is a bucket now: its tokens, the time that they are stored with, and its leases.
-- Of a clock that was set back within a second it gains nothing twice; of one that was
-- set back further it fills from now on.
--
-- known is what a replica saw it have, a space, and at which time; '' is none. It has no
-- more now than that, what came since, and what was leased then, which is a hundredth of
-- the burst at most: Redis may have lost writes. b.most is that.
local function open(key, rate, burst, known)
  local b = {rate = rate, burst = burst, tokens = burst, at = now, leases = '', most = burst}
  local had, since, leases = string.match(read(key), '^(%S+) (%S+)(.*)$')
  had, since = tonumber(had or ''), tonumber(since or '')
  if had and since then
    b.ahead = since > now + SECOND
    b.tokens = math.min(burst, had + math.max(0, now - since) * rate)
    if not b.ahead then b.at, b.leases = math.max(now, since), leases end
  end
  local left, seen = string.match(known, '^(%S+) (%S+)$')
  if left then b.most = tonumber(left) + math.max(0, now - tonumber(seen)) * rate + math.floor(burst / 100) end
  return b
end

-- keep stores a bucket with so many tokens and these leases, until it is full.
local function keep(key, b, tokens, leases)
  redis.call('SET', key, exact(tokens) .. ' ' .. whole(b.at) .. leases,
    'PX', whole(math.min(LONGEST, math.ceil((b.burst - tokens) / b.rate / 1000) + KEEP)))
end
