-- W4, a batch of elements: the other half's key, the own key, id each. Nobody else has either key.
local found = {}
for i = 1, #ARGV, 3 do
  local other = redis.call('GETDEL', ARGV[i])
  if other then
    found[#found + 1] = other
    found[#found + 1] = ARGV[i + 2]
  else
    redis.call('SET', ARGV[i + 1], ARGV[i + 2])
  end
end
if #found > 0 then redis.call('RPUSH', 'pairs', unpack(found)) end
return found
