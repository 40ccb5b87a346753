-- The task queue: every operation is one call of this script, done whole or not at all.
--
-- KEYS[1]  prefix of every key, with the hash tag that keeps them in one slot
-- ARGV     operation, now in epoch milliseconds, '1' if a call with the same token may have been done before (its answer
--          was lost), token of the call, head (what all items share) and items, both MessagePack
-- Returns MessagePack: a result for each item, or what the operation says.
--
-- Keys, each after the prefix (id: a task; name: a type and a group, see group_name):
--   task:<id>            hash: data, meta, status, position, created, push, and what came later
--   types                set of the types ever pushed and not yet purged
--   is:<state>:<type>    sorted set of ids by position: counts and pages
--   line:<type>          pending tasks without a group, by priority, then position (see line_member)
--   grouped:<type>       pending tasks with a group; group:<name> those of one, groups:<type> which have any
--   busy:<name>          set of the running tasks of a group
--   leases               running ids by the end of their lease;   later  scheduled ids by their time
--   waiting              set of ids that wait for others;         ready  those of them to look at
--   then:<id>            set of the tasks that one waits for;     open:<id>  the unfinished of them
--   schedule:<id>        unfinished tasks of a schedule by position
--   ended:<state>        finished ids by the second of their end
--   keys                 hash: unique key to id, time of its push, in MessagePack; keytimes  keys by when to look again
--   rate:<type>, grate:<name>  when a rate is free, epoch microseconds;  paused  set of types;  position  the last given

local PREFIX, op, now, again, token = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4]
local call, pack, unpack_all = redis.call, cmsgpack.pack, cmsgpack.unpack
local head = ARGV[5] ~= '' and unpack_all(ARGV[5]) or {}
local items = ARGV[6] ~= '' and unpack_all(ARGV[6]) or {}

local FINISHED = {completed = true, failed = true, cancelled = true}
local TYPE, PRIORITY, GROUP, THEN, SCHEDULE, WAITS = 1, 2, 3, 4, 5, 6 -- of a task's meta
local KEY_GRACE_MS = 3600000
local RATE_GRACE_MS = 3600000
local AT_ONCE = 500
local WINDOW = 256 -- grouped tasks of a type that are looked at before its groups are

local function task_key(id) return PREFIX .. 'task:' .. id end
local function group_name(kind, group) return #kind .. ':' .. kind .. ':' .. group end
local function line_member(position, id, group)
  return position .. string.format('%03d', #id) .. id .. (group or '')
end
local function whole(number) return string.format('%.0f', number) end
local seconds = whole(math.floor(now / 1000))

-- Where tasks of a state are kept

local function put_in_line(id, meta, position)
  local kind, group = meta[TYPE], meta[GROUP]
  local member = line_member(position, id, group)
  if group then
    call('ZADD', PREFIX .. 'grouped:' .. kind, meta[PRIORITY], member)
    call('ZADD', PREFIX .. 'group:' .. group_name(kind, group), meta[PRIORITY], member)
    call('SADD', PREFIX .. 'groups:' .. kind, group)
  else
    call('ZADD', PREFIX .. 'line:' .. kind, meta[PRIORITY], member)
  end
end

local function take_from_line(id, kind, group, position)
  local member = line_member(position, id, group)
  if group then
    local line = PREFIX .. 'group:' .. group_name(kind, group)
    call('ZREM', PREFIX .. 'grouped:' .. kind, member)
    call('ZREM', line, member)
    if call('EXISTS', line) == 0 then call('SREM', PREFIX .. 'groups:' .. kind, group) end
  else
    call('ZREM', PREFIX .. 'line:' .. kind, member)
  end
end

-- value: run_at_ms of a scheduled task, end of a running one's lease, second of a finished one's end
local function enter(id, meta, position, state, value)
  call('ZADD', PREFIX .. 'is:' .. state .. ':' .. meta[TYPE], position, id)
  if state == 'pending' then
    put_in_line(id, meta, position)
  elseif state == 'scheduled' then
    if value or not meta[WAITS] then
      call('ZADD', PREFIX .. 'later', value or 0, id)
    else
      call('SADD', PREFIX .. 'waiting', id)
      call('SADD', PREFIX .. 'ready', id)
    end
  elseif state == 'running' then
    call('ZADD', PREFIX .. 'leases', value, id)
    if meta[GROUP] then call('SADD', PREFIX .. 'busy:' .. group_name(meta[TYPE], meta[GROUP]), id) end
  else
    call('ZADD', PREFIX .. 'ended:' .. state, value or 0, id)
  end
end

local function leave(id, meta, position, state)
  call('ZREM', PREFIX .. 'is:' .. state .. ':' .. meta[TYPE], id)
  if state == 'pending' then
    take_from_line(id, meta[TYPE], meta[GROUP], position)
  elseif state == 'scheduled' then
    call('ZREM', PREFIX .. 'later', id)
    if meta[WAITS] then
      call('SREM', PREFIX .. 'waiting', id)
      call('SREM', PREFIX .. 'ready', id)
    end
  elseif state == 'running' then
    call('ZREM', PREFIX .. 'leases', id)
    if meta[GROUP] then call('SREM', PREFIX .. 'busy:' .. group_name(meta[TYPE], meta[GROUP]), id) end
  else
    call('ZREM', PREFIX .. 'ended:' .. state, id)
  end
end

-- What follows from a task's being finished, or not
local function is_open(id, meta, position)
  if meta[SCHEDULE] then call('ZADD', PREFIX .. 'schedule:' .. meta[SCHEDULE], position, id) end
  if meta[THEN] then
    call('SADD', PREFIX .. 'then:' .. meta[THEN], id)
    call('SADD', PREFIX .. 'open:' .. meta[THEN], id)
  end
end

local function is_over(id, meta)
  if meta[SCHEDULE] then call('ZREM', PREFIX .. 'schedule:' .. meta[SCHEDULE], id) end
  if meta[THEN] then
    local open = PREFIX .. 'open:' .. meta[THEN]
    call('SREM', open, id)
    if call('EXISTS', open) == 0 and call('SISMEMBER', PREFIX .. 'waiting', meta[THEN]) == 1 then
      call('SADD', PREFIX .. 'ready', meta[THEN])
    end
  end
end

local function move(id, meta, position, from, to, value)
  leave(id, meta, position, from)
  enter(id, meta, position, to, value)
  if FINISHED[to] and not FINISHED[from] then
    is_over(id, meta)
  elseif FINISHED[from] and not FINISHED[to] then
    is_open(id, meta, position)
  end
end

-- A task as the client reads it: values of ROW, then the end of its lease
local function row(id)
  local values = call('HMGET', task_key(id), 'data', 'status', 'position', 'created', 'new', 'outcome', 'run_at',
    'started', 'ended', 'progress', 'cancel_ms', 'cancel_reason', 'owner', 'token')
  if not values[1] then return false end
  values[15] = values[2] == 'running' and call('ZSCORE', PREFIX .. 'leases', id) or false
  return values
end

local function rows(ids)
  local found = {}
  for _, id in ipairs(ids) do found[#found + 1] = row(id) or nil end
  return found
end

-- Changes

local CHANGED = {'run_at', 'ended', 'outcome', 'cancel_ms', 'cancel_reason'}

-- change: status, then values of CHANGED
local function apply(id, meta, position, from, change)
  local place, written, gone = task_key(id), {'status', change[1]}, {'owner'}
  for index, field in ipairs(CHANGED) do
    local value = change[index + 1]
    if value then
      written[#written + 1] = field
      written[#written + 1] = type(value) == 'number' and whole(value) or value
    else
      gone[#gone + 1] = field
    end
  end
  call('HSET', place, unpack(written))
  call('HDEL', place, unpack(gone))
  move(id, meta, position, from, change[1], change[2] or change[3])
end

-- item: id, token, change
local function settle(item)
  local found = call('HMGET', task_key(item[1]), 'status', 'token', 'meta', 'position')
  if not found[3] or found[2] ~= item[2] then return false end
  if found[1] ~= 'running' then return again and found[1] == item[3][1] end
  apply(item[1], unpack_all(found[3]), found[4], 'running', item[3])
  return true
end

-- item: id, status and token that the caller saw, change, whether to refuse where others are still waited for
local function change(item)
  local id = item[1]
  local found = call('HMGET', task_key(id), 'status', 'token', 'meta', 'position', 'by')
  if not found[3] then return false end
  if again and found[5] == token then return true end
  if found[1] ~= item[2] or (found[1] == 'running' and found[2] ~= item[3]) then return false end
  if item[5] and call('EXISTS', PREFIX .. 'open:' .. id) == 1 then return false end
  apply(id, unpack_all(found[3]), found[4], found[1], item[4])
  call('HSET', task_key(id), 'by', token)
  return true
end

-- Push

local function last_position() return tonumber(call('GET', PREFIX .. 'position') or '0') end

local function holder(unique, mode, window)
  local held = call('HGET', PREFIX .. 'keys', unique)
  if not held then return nil end
  held = unpack_all(held)
  local status, by = unpack(call('HMGET', task_key(held[1]), 'status', 'by'))
  if again and by == token then return held[1] end
  local holds
  if mode == 'unfinished' then
    holds = status and not FINISHED[status]
  elseif mode == 'seconds' then
    holds = now < held[2] + window
  else
    holds = status == 'scheduled' or status == 'pending'
  end
  return holds and held[1] or nil
end

local function hold(unique, id, pushed, window)
  call('HSET', PREFIX .. 'keys', unique, pack({id, pushed}))
  call('ZADD', PREFIX .. 'keytimes', whole(pushed + math.max(KEY_GRACE_MS, window)), unique)
end

-- task: id, meta, data, run_at_ms, unique key, mode, window in ms, params and own keys (of a mode that replaces)
local ID, META, DATA, RUN_AT, UNIQUE, MODE, WINDOW_MS, NEW = 1, 2, 3, 4, 5, 6, 7, 8

local function who_is_there(tasks, mark)
  local seen, keys, there = {}, {}, {}
  for place, task in ipairs(tasks) do
    local id, unique, known = task[ID], task[UNIQUE], false
    local push = call('HGET', task_key(id), 'push')
    if again and push == mark and not seen[id] then
      there[place] = 'stored'
    else
      if unique then known = keys[unique] or holder(unique, task[MODE], task[WINDOW_MS]) or false end
      if not known and (push or seen[id]) then known = id end
      there[place] = known
    end
    if not known then
      seen[id] = true
      if unique then keys[unique] = id end
    end
  end
  return there
end

local function replace(id, task)
  local place = task_key(id)
  call('HSET', place, 'new', task[NEW], 'by', token)
  if task[MODE] ~= 'debounce' then return end
  local status, meta, position = unpack(call('HMGET', place, 'status', 'meta', 'position'))
  local later = task[RUN_AT] and task[RUN_AT] > now
  if task[RUN_AT] then call('HSET', place, 'run_at', whole(task[RUN_AT])) else call('HDEL', place, 'run_at') end
  local to = later and 'scheduled' or 'pending'
  call('HSET', place, 'status', to)
  move(id, unpack_all(meta), position, status, to, task[RUN_AT])
end

local function store(task, number, mark)
  local id, meta, position = task[ID], task[META], string.format('%020.0f', number)
  local later = meta[WAITS] or (task[RUN_AT] and task[RUN_AT] > now)
  local state = later and 'scheduled' or 'pending'
  call('HSET', task_key(id), 'data', task[DATA], 'meta', pack(meta), 'status', state, 'position', position,
    'created', seconds, 'push', mark)
  if task[RUN_AT] then call('HSET', task_key(id), 'run_at', whole(task[RUN_AT])) end
  enter(id, meta, position, state, task[RUN_AT])
  is_open(id, meta, position)
  if task[UNIQUE] then hold(task[UNIQUE], id, now, task[WINDOW_MS]) end
end

-- item: whether known ids are left alone, tasks. Result: for each task false or the id that is there; or the known id
local function push(item, mark, given)
  local tasks, there = item[2], who_is_there(item[2], mark)
  for place, task in ipairs(tasks) do
    if there[place] == task[ID] and not item[1] then return task[ID] end
  end
  for place, task in ipairs(tasks) do
    if not there[place] then
      given.types[task[META][TYPE]] = true
      given.position = given.position + 1
      store(task, given.position, mark)
    elseif there[place] ~= 'stored' and there[place] ~= task[ID] and task[NEW] then
      replace(there[place], task)
    end
  end
  for place, known in ipairs(there) do
    if known == 'stored' then there[place] = false end
  end
  return there
end

-- Claim

local function source(place, chunk)
  return {place = place, chunk = chunk, at = 0, index = 1, count = 0}
end

-- The first of a line that was not passed yet: priority and member
local function peek(line)
  if line.index > line.count then
    if line.done then return nil end
    line.found = call('ZRANGE', line.place, line.at, line.at + line.chunk - 1, 'WITHSCORES')
    line.count, line.index = #line.found / 2, 1
    line.at = line.at + line.count
    line.done = line.count < line.chunk
    if line.count == 0 then return nil end
  end
  return tonumber(line.found[2 * line.index]), line.found[2 * line.index - 1]
end

local function parts_of(member)
  local length = tonumber(string.sub(member, 21, 23))
  return string.sub(member, 1, 20), string.sub(member, 24, 23 + length), string.sub(member, 24 + length)
end

local function before(priority, member, other_priority, other)
  if not other then return true end
  if priority ~= other_priority then return priority < other_priority end
  return member < other
end

-- Rates: the generic cell rate algorithm, as in model/limit.py
local function may_begin(free, rate)
  local burst = math.max(100000, 1000000 / rate)
  return math.floor((now * 1000 + burst - math.max(free, now * 1000)) * rate / 1000000 + 1e-9) >= 1
end

local function after_beginning(free, rate) return math.max(free, now * 1000) + math.ceil(1000000 / rate) end

local function opens_at(free, rate)
  local interval = 1000000 / rate
  return math.ceil(free + interval - math.max(100000, interval))
end

local Gate = {}
Gate.__index = Gate

-- limit: type, concurrency, rate, concurrency and rate of a group; false is no limit
local function gate_of(limit)
  local kind = limit[1]
  return setmetatable({
    kind = kind, most = limit[2], rate = limit[3], group_most = limit[4], group_rate = limit[5],
    running = limit[2] and call('ZCARD', PREFIX .. 'is:running:' .. kind) or 0,
    free = limit[3] and tonumber(call('GET', PREFIX .. 'rate:' .. kind) or '0') or 0,
    groups = {}, barred = {},
  }, Gate)
end

function Gate:has_room() return not self.most or self.running < self.most end
function Gate:is_open() return self:has_room() and (not self.rate or may_begin(self.free, self.rate)) end
function Gate:by_group() return self.group_most or self.group_rate end

function Gate:group(name)
  local group = self.groups[name]
  if not group then
    local full = group_name(self.kind, name)
    group = {
      running = self.group_most and call('SCARD', PREFIX .. 'busy:' .. full) or 0,
      free = self.group_rate and tonumber(call('GET', PREFIX .. 'grate:' .. full) or '0') or 0,
    }
    self.groups[name] = group
  end
  return group
end

function Gate:group_has_room(group) return not self.group_most or group.running < self.group_most end

function Gate:lets(name)
  local group = self:group(name)
  if self:group_has_room(group) and (not self.group_rate or may_begin(group.free, self.group_rate)) then return true end
  self.barred[name] = true
  return false
end

function Gate:take(name)
  self.running = self.running + 1
  self.taken = true
  if self.rate then self.free = after_beginning(self.free, self.rate) end
  if name ~= '' and self:by_group() then
    local group = self:group(name)
    group.running, group.taken = group.running + 1, true
    if self.group_rate then group.free = after_beginning(group.free, self.group_rate) end
  end
end

local function keep_rate(place, free)
  call('SET', place, whole(free), 'PX', whole(math.max(0, free / 1000 - now) + RATE_GRACE_MS))
end

-- Write down what was taken; return when to look again, where nothing but a rate bars
function Gate:close()
  local soonest
  local function look_at(time) if not soonest or time < soonest then soonest = time end end
  if self.rate then
    if self.taken then keep_rate(PREFIX .. 'rate:' .. self.kind, self.free) end
    if self:has_room() and not may_begin(self.free, self.rate) then look_at(opens_at(self.free, self.rate)) end
  end
  if self.group_rate then
    for name, group in pairs(self.groups) do
      if group.taken then keep_rate(PREFIX .. 'grate:' .. group_name(self.kind, name), group.free) end
      if self.barred[name] and self:group_has_room(group) and not may_begin(group.free, self.group_rate) then
        look_at(opens_at(group.free, self.group_rate))
      end
    end
  end
  return soonest
end

local Line = {} -- the pending tasks of one type that may begin now
Line.__index = Line

local function line_of(kind, limit, chunk)
  return setmetatable({
    kind = kind, chunk = chunk, gate = limit and gate_of(limit), passed = 0,
    plain = source(PREFIX .. 'line:' .. kind, chunk),
    grouped = source(PREFIX .. 'grouped:' .. kind, limit and WINDOW or chunk),
  }, Line)
end

-- The first grouped task whose group lets it begin. Behind a long line of barred groups, the groups are looked at
function Line:first_grouped()
  local gate = self.gate
  if not gate or not gate:by_group() then
    local priority, member = peek(self.grouped)
    return priority, member, self.grouped
  end
  if not self.open_groups then
    while self.passed < WINDOW do
      local priority, member = peek(self.grouped)
      if not member then return nil end
      local _, _, group = parts_of(member)
      if gate:lets(group) then return priority, member, self.grouped end
      self.grouped.index = self.grouped.index + 1
      self.passed = self.passed + 1
    end
    self.open_groups = {}
    for _, group in ipairs(call('SMEMBERS', PREFIX .. 'groups:' .. self.kind)) do
      if gate:lets(group) then
        self.open_groups[group] = source(PREFIX .. 'group:' .. group_name(self.kind, group), self.chunk)
      end
    end
  end
  local best_priority, best, best_line
  for group, line in pairs(self.open_groups) do
    local priority, member = peek(line)
    while member and self.taken and self.taken[member] do
      line.index = line.index + 1
      priority, member = peek(line)
    end
    if not member or not gate:lets(group) then
      self.open_groups[group] = nil
    elseif before(priority, member, best_priority, best) then
      best_priority, best, best_line = priority, member, line
    end
  end
  return best_priority, best, best_line
end

function Line:first()
  if self.gate and not self.gate:is_open() then return nil end
  local priority, member = peek(self.plain)
  local grouped_priority, grouped, line = self:first_grouped()
  if grouped and (not member or before(grouped_priority, grouped, priority, member)) then
    return grouped_priority, grouped, line
  end
  return priority, member, self.plain
end

function Line:take(member, line)
  line.index = line.index + 1
  self.taken = self.taken or {}
  self.taken[member] = true
  local position, id, group = parts_of(member)
  if self.gate then self.gate:take(group) end
  return {id, self.kind, group ~= '' and group, position}
end

-- Pass by the heads of the lines again and again, always taking the first of all
local function chosen(types, limits, count)
  local lines, gates, found = {}, {}, {}
  for _, kind in ipairs(types) do
    local line = line_of(kind, limits[kind], math.min(count, 100))
    line.priority, line.member, line.from = line:first()
    if line.gate then gates[#gates + 1] = line.gate end
    if line.member then lines[#lines + 1] = line end
  end
  while #found < count do
    local best
    for _, line in ipairs(lines) do
      if line.member and (not best or before(line.priority, line.member, best.priority, best.member)) then
        best = line
      end
    end
    if not best then break end
    found[#found + 1] = best:take(best.member, best.from)
    best.priority, best.member, best.from = best:first()
  end
  local opens
  for _, gate in ipairs(gates) do
    local time = gate:close()
    if time and (not opens or time < opens) then opens = time end
  end
  return found, opens
end

local function already_lent()
  local mine = {}
  for _, id in ipairs(call('ZRANGE', PREFIX .. 'leases', 0, -1)) do
    if call('HGET', task_key(id), 'token') == token then mine[#mine + 1] = row(id) end
  end
  return mine
end

local function lend(task, owner, until_ms)
  local id, kind, group, position = unpack(task)
  local values = row(id)
  take_from_line(id, kind, group, position)
  call('ZREM', PREFIX .. 'is:pending:' .. kind, id)
  if not values then return nil end
  enter(id, {kind, 0, group}, position, 'running', until_ms)
  call('HSET', task_key(id), 'status', 'running', 'owner', owner, 'token', token, 'started', seconds)
  values[2], values[8], values[13], values[14], values[15] = 'running', seconds, owner, token, until_ms
  return values
end

-- head: types (false: any), types to leave out, limits, owner, milliseconds. Returns when to look again, and rows
local function claim(count)
  if again then
    local mine = already_lent()
    if #mine > 0 then return {false, mine} end
  end
  local left_out, types, limits = {}, {}, {}
  for _, kind in ipairs(head[2]) do left_out[kind] = true end
  for _, kind in ipairs(head[1] or call('SMEMBERS', PREFIX .. 'types')) do
    if not left_out[kind] then types[#types + 1] = kind end
  end
  for _, limit in ipairs(head[3]) do limits[limit[1]] = limit end
  local tasks, opens = chosen(types, limits, count)
  local lent, until_ms = {}, whole(now + head[5])
  for _, task in ipairs(tasks) do lent[#lent + 1] = lend(task, head[4], until_ms) end
  return {opens and whole(math.ceil(opens / 1000)) or false, lent}
end

-- Operations

local ops = {}

local function each(work)
  local results = {}
  for place, item in ipairs(items) do results[place] = work(item) end
  return results
end

function ops.push()
  local results, given = {}, {types = {}, position = math.max(last_position(), now * 1000 - 1)}
  for place, item in ipairs(items) do results[place] = push(item, token .. ':' .. place, given) end
  call('SET', PREFIX .. 'position', whole(given.position))
  for kind in pairs(given.types) do call('SADD', PREFIX .. 'types', kind) end
  return results
end

-- items: how many each wants
function ops.claim()
  local count = 0
  for _, item in ipairs(items) do count = count + item end
  return claim(count)
end

-- items: settle, how many are wanted. Returns claim's answer, and which settles were accepted
function ops.exchange()
  local accepted, count = {}, 0
  for place, item in ipairs(items) do
    accepted[place] = settle(item[1])
    count = count + item[2]
  end
  local answer = claim(count)
  answer[3] = accepted
  return answer
end

function ops.settle() return each(settle) end
function ops.change() return each(change) end

-- items: id, token of claims whose callers have gone
function ops.put_back()
  local results = {}
  for place, item in ipairs(items) do
    local found = call('HMGET', task_key(item[1]), 'status', 'token', 'meta', 'position')
    results[place] = found[1] == 'running' and found[2] == item[2]
    if results[place] then
      call('HSET', task_key(item[1]), 'status', 'pending')
      call('HDEL', task_key(item[1]), 'owner')
      move(item[1], unpack_all(found[3]), found[4], 'running', 'pending')
    end
  end
  return results
end

-- items of items: id, token, milliseconds. Result: false where lost, true, or {reason} where cancelling was asked for
local function renew(leases)
  local results = {}
  for place, item in ipairs(leases) do
    local found = call('HMGET', task_key(item[1]), 'status', 'token', 'cancel_ms', 'cancel_reason')
    if found[1] ~= 'running' or found[2] ~= item[2] then
      results[place] = false
    else
      call('ZADD', PREFIX .. 'leases', 'XX', whole(now + item[3]), item[1])
      results[place] = found[3] and {found[4]} or true
    end
  end
  return results
end

function ops.heartbeat() return each(renew) end

-- items: id, token, progress
function ops.report()
  local results = {}
  for place, item in ipairs(items) do
    local found = call('HMGET', task_key(item[1]), 'status', 'token')
    results[place] = found[1] == 'running' and found[2] == item[2]
    if results[place] then call('HSET', task_key(item[1]), 'progress', item[3]) end
  end
  return results
end

-- items: id, reason
function ops.request_cancel()
  local results = {}
  for place, item in ipairs(items) do
    local task = task_key(item[1])
    results[place] = call('HGET', task, 'status') == 'running'
    if results[place] then
      call('HSET', task, 'cancel_ms', whole(now))
      if item[2] then call('HSET', task, 'cancel_reason', item[2]) else call('HDEL', task, 'cancel_reason') end
    end
  end
  return results
end

-- items: ids
function ops.get() return each(row) end

-- items: state or false, type or false, limit, id to go on after or false
function ops.find()
  local results = {}
  for place, item in ipairs(items) do
    local state, kind, limit, last = unpack(item)
    local position = last and call('HGET', task_key(last), 'position')
    if last and not position then
      results[place] = {}
    else
      local found = {}
      local kinds = kind and {kind} or call('SMEMBERS', PREFIX .. 'types')
      local states = state and {state} or {'scheduled', 'pending', 'running', 'completed', 'failed', 'cancelled'}
      for _, one in ipairs(kinds) do
        for _, is in ipairs(states) do
          local from = PREFIX .. 'is:' .. is .. ':' .. one
          local page = call('ZREVRANGEBYSCORE', from, position or '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 64)
          for index = 1, #page, 2 do
            local score = tonumber(page[index + 1])
            if not position or score < tonumber(position) or page[index] < last then
              found[#found + 1] = {score, page[index]}
            end
          end
        end
      end
      table.sort(found, function(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2]) end)
      local ids = {}
      for index = 1, math.min(limit, #found) do ids[index] = found[index][2] end
      results[place] = rows(ids)
    end
  end
  return results
end

-- items: ids of schedules
function ops.unfinished()
  local results = {}
  for place, id in ipairs(items) do results[place] = rows(call('ZRANGE', PREFIX .. 'schedule:' .. id, 0, -1)) end
  return results
end

-- items: states. Result: type, state and count of each that has any
local function counts(states)
  local kinds, results = call('SMEMBERS', PREFIX .. 'types'), {}
  for _, kind in ipairs(kinds) do
    for _, state in ipairs(states) do
      local count = call('ZCARD', PREFIX .. 'is:' .. state .. ':' .. kind)
      if count > 0 then results[#results + 1] = {kind, state, count} end
    end
  end
  return results
end

function ops.counts() return each(counts) end

-- items: ids that are waited with. Result: the state of each of the others
function ops.members()
  local results = {}
  for place, id in ipairs(items) do
    results[place] = {}
    for index, member in ipairs(call('SMEMBERS', PREFIX .. 'then:' .. id)) do
      results[place][index] = call('HGET', task_key(member), 'status')
    end
  end
  return results
end

-- items: how many. A candidate whose others are not finished comes back when they are
function ops.releasable()
  local results = {}
  for place, limit in ipairs(items) do
    local ids = {}
    for _, id in ipairs(call('SMEMBERS', PREFIX .. 'ready')) do
      if #ids == limit then break end
      local done = call('EXISTS', PREFIX .. 'open:' .. id) == 0
      if done then ids[#ids + 1] = id else call('SREM', PREFIX .. 'ready', id) end
    end
    results[place] = ids
  end
  return results
end

-- items: type, whether it is paused
function ops.pause()
  for _, item in ipairs(items) do call(item[2] and 'SADD' or 'SREM', PREFIX .. 'paused', item[1]) end
  return items
end

function ops.paused() return {call('SMEMBERS', PREFIX .. 'paused')} end

-- items of items: id, meta, data, position, second of the push, started, progress, change, unique key or false, mode,
-- window in ms
local function restore(tasks)
  local results = {}
  for place, item in ipairs(tasks) do
    local id, meta, change_to = item[1], item[2], item[8]
    local task, position = task_key(id), string.format('%020.0f', item[4])
    local known = call('HGET', task, 'push')
    results[place] = not known or (again and known == token)
    if not known then
      call('SADD', PREFIX .. 'types', meta[TYPE])
      call('HSET', task, 'data', item[3], 'meta', pack(meta), 'status', 'pending', 'position', position,
        'created', whole(item[5]), 'push', token)
      if item[6] then call('HSET', task, 'started', whole(item[6])) end
      if item[7] then call('HSET', task, 'progress', item[7]) end
      enter(id, meta, position, 'pending')
      is_open(id, meta, position)
      apply(id, meta, position, 'pending', change_to)
      if item[9] and not holder(item[9], item[10], item[11]) then hold(item[9], id, item[5] * 1000, item[11]) end
      if item[4] > last_position() then call('SET', PREFIX .. 'position', whole(item[4])) end
    end
  end
  return results
end

function ops.restore() return each(restore) end

-- items: how many at once. Result: how many became pending, and the next time
function ops.promote()
  local results = {}
  for place, limit in ipairs(items) do
    local ids = call('ZRANGEBYSCORE', PREFIX .. 'later', '-inf', whole(now), 'LIMIT', 0, limit)
    for _, id in ipairs(ids) do
      local found = call('HMGET', task_key(id), 'meta', 'position')
      call('HSET', task_key(id), 'status', 'pending')
      move(id, unpack_all(found[1]), found[2], 'scheduled', 'pending')
    end
    local first = call('ZRANGE', PREFIX .. 'later', 0, 0, 'WITHSCORES')
    results[place] = {#ids, first[2] or false}
  end
  return results
end

-- items: how many
function ops.expired()
  local results = {}
  for place, limit in ipairs(items) do
    results[place] = rows(call('ZRANGEBYSCORE', PREFIX .. 'leases', '-inf', whole(now), 'LIMIT', 0, limit))
  end
  return results
end

-- items: state, second. Result: how many were deleted, of at most AT_ONCE
function ops.purge()
  local results = {}
  for place, item in ipairs(items) do
    local state = item[1]
    local ids = call('ZRANGEBYSCORE', PREFIX .. 'ended:' .. state, '-inf', '(' .. whole(item[2]), 'LIMIT', 0, AT_ONCE)
    for _, id in ipairs(ids) do
      local meta = unpack_all(call('HGET', task_key(id), 'meta'))
      call('ZREM', PREFIX .. 'ended:' .. state, id)
      call('ZREM', PREFIX .. 'is:' .. state .. ':' .. meta[TYPE], id)
      if meta[THEN] then call('SREM', PREFIX .. 'then:' .. meta[THEN], id) end
      call('DEL', task_key(id))
    end
    results[place] = #ids
  end
  return results
end

-- Forget unique keys that nobody can hold any more. Result: how many were looked at, of at most AT_ONCE
function ops.forget_keys()
  local due = call('ZRANGEBYSCORE', PREFIX .. 'keytimes', '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  for _, unique in ipairs(due) do
    local held = unpack_all(call('HGET', PREFIX .. 'keys', unique))
    local status = call('HGET', task_key(held[1]), 'status')
    if status and not FINISHED[status] then
      call('ZADD', PREFIX .. 'keytimes', whole(now + KEY_GRACE_MS), unique)
    else
      call('HDEL', PREFIX .. 'keys', unique)
      call('ZREM', PREFIX .. 'keytimes', unique)
    end
  end
  return {#due}
end

return pack(ops[op]())
