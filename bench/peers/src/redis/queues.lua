-- W2 and W3, a batch of elements: the queue to take from, the queue to wait in, id each. W3 has one queue for both.
local found = {}
for i = 1, #ARGV, 3 do
  local other = redis.call('LPOP', ARGV[i])
  if other then
    found[#found + 1] = other
    found[#found + 1] = ARGV[i + 2]
  else
    redis.call('RPUSH', ARGV[i + 1], ARGV[i + 2])
  end
end
if #found > 0 then redis.call('RPUSH', 'pairs', unpack(found)) end
return found
