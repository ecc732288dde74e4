-- WRK_POST_BYTES: send a body of that size.
local bytes = tonumber(os.getenv('WRK_POST_BYTES') or '0')
if bytes > 0 then
  wrk.method = 'POST'
  wrk.body = string.rep('x', bytes)
end

-- Makes wrk end with one line of JSON in the fields of bench_load.
function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '{"requests":%d,"total_requests":%d,"errors":%d,"seconds":%.3f,"rps":%.1f,"p50_us":%.1f,"p90_us":%.1f,' ..
    '"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f,' ..
    '"failures":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.requests,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout,
    summary.duration / 1e6, summary.requests / (summary.duration / 1e6),
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9),
    latency.max, failed.connect, failed.read, failed.write, failed.status, failed.timeout))
end
