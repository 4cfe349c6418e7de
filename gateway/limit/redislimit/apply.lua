-- Applies what became of calls that were admitted.
--
-- KEYS has a key for each change; ARGV has five arguments for each, the first its
-- kind:
--   charge  rate (tokens a microsecond), burst, amount, known: taken of a bucket, which
--           may come below none
--   count   period, amount: added to a quota's counter, of that period alone
--   raise   period, total: a quota's counter of that period is at least that
--   hold    place, lifetime: a place of concurrency lasts that much longer
--   free    place: it ended
-- The answer is the time, and for each change what its bucket has then; '' of others.

local answer = {whole(now)}
for i = 1, #KEYS do
  local key, at, left = KEYS[i], 1 + (i - 1) * 5, ''
  local kind, one, two, three = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if kind == 'charge' then
    local b = open(key, tonumber(one), tonumber(two), ARGV[at + 4])
    local tokens = math.min(b.tokens, b.most) - tonumber(three)
    keep(key, b, tokens, b.leases)
    left = exact(tokens)
  elseif kind == 'count' or kind == 'raise' then
    local period, count = string.match(read(key), '^(%S+) (%S+)$')
    count = tonumber(count or '')
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
  answer[i + 1] = left
end
return answer
