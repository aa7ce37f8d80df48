-- W1, a batch of elements: key, skill, id each. Who waits under a key is a sorted set by skill. Those who wait are more
-- than 25 apart, so at most two are near; the lower id has waited longer.
local found = {}
for i = 1, #ARGV, 3 do
  local key, skill, id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local near = redis.call('ZRANGEBYSCORE', key, skill - 25, skill + 25)
  if #near == 0 then
    redis.call('ZADD', key, skill, id)
  else
    local other = near[1]
    if near[2] and tonumber(near[2]) < tonumber(other) then other = near[2] end
    redis.call('ZREM', key, other)
    found[#found + 1] = other
    found[#found + 1] = id
  end
end
if #found > 0 then redis.call('RPUSH', 'pairs', unpack(found)) end
return found
