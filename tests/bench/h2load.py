"""h2load of nghttp2 as load for HTTP/2, with the result in the words of bench_load."""

import os
import re
import subprocess
import tempfile


def percentile(ordered, part):
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0


def run(url, connections, streams, seconds, start, grpc_message=None):
    """Closed loop for `seconds`. `start` is subprocess.Popen or the like; with `grpc_message` (its frame) the requests
    are gRPC calls. Returns (result, exit code)."""
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, 'times')
        command = ['h2load', '-D', '%d' % max(1, round(seconds)), '-c', str(connections), '-m', str(streams)]
        if grpc_message is not None:
            message = os.path.join(directory, 'message')
            with open(message, 'wb') as file:
                file.write(grpc_message)
            command += ['-d', message, '-H', 'content-type: application/grpc', '-H', 'te: trailers']
        process = start(
            [*command, '--log-file=' + log, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        text = process.communicate(timeout=seconds + 60)[0]
        times = []
        if os.path.exists(log):
            with open(log, encoding='ascii') as file:
                times = sorted(int(line.rsplit('\t', 1)[1]) for line in file)
    return parse(text, times), process.returncode


def parse(text, times):
    """The report of h2load, and the response times of its log in microseconds, in order."""
    found = re.search(
        r'(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout', text
    )
    rate = re.search(r'finished in [\d.]+\w+, ([\d.]+) req/s', text)
    if not found or not rate:
        found, rate = None, None
    done, succeeded, failed, errored, timeout = map(int, found.groups()) if found else (0, 0, 0, 1, 0)
    return {
        'total_requests': succeeded,
        'errors': failed + errored + timeout + (done - succeeded - failed if found else 0),
        'failures': {'failed': failed, 'errored': errored, 'timeout': timeout},
        'rps': float(rate.group(1)) if rate else 0,
        'p50_us': percentile(times, 0.5),
        'p90_us': percentile(times, 0.9),
        'p99_us': percentile(times, 0.99),
        'p999_us': percentile(times, 0.999),
        'max_us': times[-1] if times else 0,
    }
