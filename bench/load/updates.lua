-- wrk: each record is changed by one request at a time, which names the version that the answer before it gave.
-- Arguments: the file, and what makes this run's request ids its own.  In the file, each ended by NUL: a record's id, its version,
-- and a request in which \1 stands for something that no other request has and \2 for the version.
local records, waiting, first, last, unique, issued = {}, {}, 1, 0, "", 0

local function push(id, version)
  last = last + 1
  waiting[last] = { id = id, version = version }
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  unique = args[2]
  for id, version, request in text:gmatch("([^%z]+)%z([^%z]+)%z([^%z]+)%z") do
    records[id] = request
    push(id, version)
  end
end

function request()
  local record = waiting[first]
  waiting[first] = nil
  first = first + 1
  issued = issued + 1
  return (records[record.id]:gsub("[\1\2]", { ["\1"] = unique .. string.format("%08d", issued), ["\2"] = record.version }))
end

function response(status, headers, body)
  local id, version = body:match('"customerId":"([^"]+)"'), body:match('"version":(%d+)')
  if status == 200 and id then push(id, version) end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"durationUs":%d,"p50Us":%.1f,"p99Us":%.1f,"maxUs":%.1f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
