-- Sends prepared requests in turn and says what came of them in one line of JSON.
-- Arguments: a file of requests (for each its length in bytes, a line end, its bytes), and,
-- optionally, the milliseconds to pause before each.

local requests, turn = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local length = file:read("*n")
    if not length then break end
    file:read(1)
    requests[#requests + 1] = file:read(length)
  end
  file:close()
  local pause = tonumber(arguments[2])
  if pause then
    delay = function() return pause end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nFIGURES {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"most":%d,'
      .. '"refused":%d,"timeouts":%d,"connection_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, errors.status, errors.timeout, errors.connect + errors.read + errors.write
  ))
end
