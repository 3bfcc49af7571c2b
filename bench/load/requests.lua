-- wrk: the requests of a file, one after the other.  Arguments: the file, and what makes this run's request ids its own.
-- In the file they are raw HTTP, each ended by NUL; \1 in them stands for something that no other request has.
local requests, at, unique, issued = {}, 0, "", 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  unique = args[2]
  for request in text:gmatch("[^%z]+") do
    local parts = {}
    for part in (request .. "\1"):gmatch("([^\1]*)\1") do parts[#parts + 1] = part end
    requests[#requests + 1] = parts
  end
end

function request()
  at = at % #requests + 1
  local parts = requests[at]
  if #parts == 1 then return parts[1] end
  issued = issued + 1
  return table.concat(parts, unique .. string.format("%08d", issued))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"durationUs":%d,"p50Us":%.1f,"p99Us":%.1f,"maxUs":%.1f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
