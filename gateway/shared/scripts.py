"""What must happen at once in Redis, as Lua: commands of Redis 6.2 only.

A script's first write says whether memory is full, and after it all others pass. So what gives
memory back, and the lease by which alone it may be given back, begin with a write that Redis
allows always.
"""

from __future__ import annotations

from hashlib import sha1


class Script:
    """One script and the name by which Redis remembers it."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode()).hexdigest()  # noqa: S324 - EVALSHA's own


#: The recorded sum, or anew from what each chunk has if that was evicted.
_TOTAL = """
local function total(bytes, chunks)
  local known = redis.call('GET', bytes)
  if known then return tonumber(known) end
  local sum = 0
  for _, said in ipairs(redis.call('HVALS', chunks)) do
    sum = sum + tonumber(string.match(said, '^%d+'))
  end
  return sum
end
"""

#: What `chunks` says of one: `<bytes>[ sealed][ cut <bytes>]`.
_SAID = """
local function saying(size, sealed, cut)
  return string.format('%.0f', size) .. (sealed and ' sealed' or '')
    .. (cut >= 0 and ' cut ' .. string.format('%.0f', cut) or '')
end
"""

#: Where a chunk that is done had been cut, or -1: looked for only where any was.
_CUT_OF_DONE = """
local function cut_of_done(done, number)
  if redis.call('SISMEMBER', done, 'cut') == 0 then return -1 end
  for _, one in ipairs(redis.call('SMEMBERS', done)) do
    local cut = string.match(one, '^' .. number .. ' cut (%d+)$')
    if cut then return tonumber(cut) end
  end
  return -1
end
"""

#: KEYS chunk, chunks, done, bytes; ARGV number, field, offset, data, sealed, cap
#: → has, done, full, cut or -1
SHIP = Script(
    _TOTAL
    + _SAID
    + _CUT_OF_DONE
    + """
local has = redis.call('STRLEN', KEYS[1])
if redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1 then
  return {has, 1, 0, cut_of_done(KEYS[3], ARGV[1])}
end
local said = redis.call('HGET', KEYS[2], ARGV[2])
local known = said and tonumber(string.match(said, '^%d+')) or 0
local cut = said and tonumber(string.match(said, 'cut (%d+)')) or -1
local is_whole = said and string.find(said, 'sealed', 1, true) and known == has
local offset, seal = tonumber(ARGV[3]), ARGV[5] == '1'
if is_whole or offset > has then return {has, 0, 0, cut} end
local new = string.sub(ARGV[4], has - offset + 1)
if cut >= 0 then
  new = string.sub(new, 1, cut - has)
  seal = seal or has + #new >= cut
end
if #new == 0 and not seal then return {has, 0, 0, cut} end
local sum = total(KEYS[4], KEYS[2]) - known + has
if #new > 0 then
  if sum + #new > tonumber(ARGV[6]) then return {has, 0, 1, cut} end
  has = redis.call('APPEND', KEYS[1], new)
end
redis.call('HSET', KEYS[2], ARGV[2], saying(has, seal, cut))
redis.call('SET', KEYS[4], string.format('%.0f', sum + #new))
return {has, 0, 0, cut}
"""
)

#: KEYS lease, chunk, chunks, done, bytes; ARGV token, number, field, cut, size or -1 for any
#: → 1; 0 without the lease; -1 if it has not that size any more, or is whole
CUT = Script(
    _TOTAL
    + _SAID
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local said, has = redis.call('HGET', KEYS[3], ARGV[3]), redis.call('STRLEN', KEYS[2])
local cut, size = tonumber(ARGV[4]), tonumber(ARGV[5])
if not said or redis.call('SISMEMBER', KEYS[4], ARGV[2]) == 1 then return -1 end
if size >= 0 and (has ~= size or string.find(said, ' ', 1, true)) then return -1 end
local left = math.min(has, cut)
local sum = total(KEYS[5], KEYS[3]) - tonumber(string.match(said, '^%d+')) + left
redis.call('HDEL', KEYS[3], ARGV[3])
if cut == 0 then
  redis.call('DEL', KEYS[2])
else
  if has > cut then redis.call('SET', KEYS[2], redis.call('GETRANGE', KEYS[2], 0, cut - 1)) end
  local seal = left == cut or string.find(said, 'sealed', 1, true)
  redis.call('HSET', KEYS[3], ARGV[3], saying(left, seal, cut))
end
redis.call('SET', KEYS[5], string.format('%.0f', sum))
return 1
"""
)

#: KEYS lease; ARGV token, milliseconds → taken
TAKE = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

#: KEYS lease; ARGV token, milliseconds → renewed
RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

#: KEYS lease; ARGV token → given up
GIVE_UP = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

#: KEYS lease, chunks, bytes, writer's done; ARGV token, seconds, beginnings of a chunk's key and of
#: its field, `<number>[ cut <bytes>]`… → held
CALL_DONE = Script(
    _TOTAL
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local sum = total(KEYS[3], KEYS[2])
for i = 5, #ARGV do
  local number = string.match(ARGV[i], '^%d+')
  redis.call('DEL', ARGV[3] .. number)
  local said = redis.call('HGET', KEYS[2], ARGV[4] .. number)
  if said then
    sum = sum - tonumber(string.match(said, '^%d+'))
    redis.call('HDEL', KEYS[2], ARGV[4] .. number)
  end
  redis.call('SADD', KEYS[4], number)
  if number ~= ARGV[i] then redis.call('SADD', KEYS[4], ARGV[i], 'cut') end
end
redis.call('SET', KEYS[3], string.format('%.0f', sum))
redis.call('EXPIRE', KEYS[4], ARGV[2])
return 1
"""
)

#: KEYS staged; ARGV milliseconds, index, block, …
STAGE = Script("""
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")

#: KEYS lease, state, head, staged; ARGV token, head, staged indices… → 1; 0 without the lease;
#: -1 if blocks lack or differ; -2 if a later state is there
PUT_STATE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local head, staged = cjson.decode(ARGV[2]), {}
local was = redis.call('GET', KEYS[3])
local old = was and cjson.decode(was) or {generation = -1, blocks = {}}
if old.generation > head.generation then return -2 end
if old.generation == head.generation and was ~= ARGV[2] then return -2 end
for i = 3, #ARGV do
  staged[ARGV[i]] = true
  if redis.call('HEXISTS', KEYS[4], ARGV[i]) == 0 then return -1 end
end
local count = #head.blocks
for i = 1, count do
  local index = string.format('%.0f', i - 1)
  if not staged[index] then
    if old.blocks[i] ~= head.blocks[i] then return -1 end
    if redis.call('HEXISTS', KEYS[2], index) == 0 then return -1 end
  end
end
for i = 3, #ARGV do
  redis.call('HSET', KEYS[2], ARGV[i], redis.call('HGET', KEYS[4], ARGV[i]))
end
if redis.call('HLEN', KEYS[2]) > count then
  for _, index in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(index) >= count then redis.call('HDEL', KEYS[2], index) end
  end
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[4])
return 1
""")

#: KEYS lease, documents, counter; ARGV token, counter's start, name, `+`value or `-`, … → held
PUT_DOCUMENTS = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local changed = false
for i = 3, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[2], ARGV[i])
  if ARGV[i + 1] == '-' then
    if old then redis.call('HDEL', KEYS[2], ARGV[i]); changed = true end
  elseif old ~= string.sub(ARGV[i + 1], 2) then
    redis.call('HSET', KEYS[2], ARGV[i], string.sub(ARGV[i + 1], 2)); changed = true
  end
end
if changed then
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('INCR', KEYS[3])
  else redis.call('SET', KEYS[3], ARGV[2]) end
end
return 1
""")

#: KEYS counter; ARGV its start → its value
COUNT_UP = Script("""
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return tonumber(ARGV[1]) end
return redis.call('INCR', KEYS[1])
""")

#: KEYS commands, brought; ARGV command, most → sent
SEND_COMMAND = Script("""
if redis.call('LPOS', KEYS[1], ARGV[1]) or redis.call('LPOS', KEYS[2], ARGV[1]) then return 1 end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
""")

#: KEYS commands, brought; ARGV command → 1 if it was taken back; 0 if it was brought; -1 if neither
WITHDRAW_COMMAND = Script("""
if redis.call('LREM', KEYS[1], 0, ARGV[1]) > 0 then return 1 end
return redis.call('LPOS', KEYS[2], ARGV[1]) and 0 or -1
""")

#: KEYS lease, commands, brought; ARGV token → held, commands…
BRING_COMMANDS = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
local one = redis.call('LPOP', KEYS[2])
while one do
  redis.call('RPUSH', KEYS[3], one)
  one = redis.call('LPOP', KEYS[2])
end
return {1, unpack(redis.call('LRANGE', KEYS[3], 0, -1))}
""")

#: KEYS lease, brought; ARGV token, commands… → held
DROP_COMMANDS = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('LREM', KEYS[2], 0, ARGV[i]) end
return 1
""")

#: KEYS key; ARGV id → the id in force
AGREE = Script("""
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
""")
