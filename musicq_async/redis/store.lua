-- Shared values with an exact end: KEYS[1] prefix, ARGV as in tasks.lua. Returns MessagePack, a result for each item.
-- values: hash of key to JSON;  ends: sorted set of the keys that have an end, in epoch milliseconds

local values, ends, op, now = KEYS[1] .. 'public', KEYS[1] .. 'public-ends', ARGV[1], tonumber(ARGV[2])
local call = redis.call
local items = cmsgpack.unpack(ARGV[6])
local AT_ONCE = 1000

local function is_over(key)
  local ends_at = call('ZSCORE', ends, key)
  return ends_at and tonumber(ends_at) <= now
end

local ops = {}

-- item: key, value, end or false
function ops.set(item)
  call('HSET', values, item[1], item[2])
  if item[3] then
    call('ZADD', ends, string.format('%.0f', item[3]), item[1])
  else
    call('ZREM', ends, item[1])
  end
  return true
end

function ops.get(key)
  return not is_over(key) and call('HGET', values, key)
end

function ops.delete(key)
  local was_over = is_over(key)
  call('ZREM', ends, key)
  return call('HDEL', values, key) == 1 and not was_over
end

-- Result: how many were dropped, of at most AT_ONCE
function ops.cleanup()
  local over = call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, AT_ONCE)
  for _, key in ipairs(over) do
    call('HDEL', values, key)
    call('ZREM', ends, key)
  end
  return #over
end

function ops.size()
  return call('HLEN', values) - call('ZCOUNT', ends, '-inf', string.format('%.0f', now))
end

function ops.keys()
  local over, live = {}, {}
  for _, key in ipairs(call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now))) do over[key] = true end
  for _, key in ipairs(call('HKEYS', values)) do
    if not over[key] then live[#live + 1] = key end
  end
  table.sort(live)
  return live
end

-- item: keys. Result: key, value, end or false of each that lives
function ops.entries(keys)
  local found = {}
  for _, key in ipairs(keys) do
    local value = ops.get(key)
    if value then found[#found + 1] = {key, value, tonumber(call('ZSCORE', ends, key) or '') or false} end
  end
  return found
end

-- item: key, value, end or false. Result: 1 where there was none that lives
function ops.add(item)
  if ops.get(item[1]) then return 0 end
  ops.set(item)
  return 1
end

function ops.clear()
  call('UNLINK', values, ends)
  return true
end

local results = {}
for place, item in ipairs(items) do results[place] = ops[op](item) end
return cmsgpack.pack(results)
