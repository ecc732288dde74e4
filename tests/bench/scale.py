"""What a reload of many routes and clusters costs, and how long it holds up requests. `run.py --only scale`; alone:
scale.py PROGRAM [SIZE ...] prints a table."""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import peers

SIZES = (10, 1000, 10000)
RELOADS = 3
PROBES = 200  # of /ready, while metrics are scraped
HEAD = '''workers: 2
admin: {address: "127.0.0.1:%d"}
log: {level: warn}
listeners:
- {name: in, address: "127.0.0.1:%d", protocol: http1, routes: r}
routes:
- name: r
  routes:
'''


def config(size, version, admin, port):
    """`size` routes, half as many clusters with two endpoints each. A version differs in every second route, every tenth cluster,
    and the weights of the others."""
    clusters = max(size // 2, 1)
    out = [HEAD % (admin, port)]
    for i in range(size):
        timeout = 1000 + (version if i % 2 else 0)
        out.append(
            '  - {name: r%d, match: {prefix: /p%d/, headers: [{name: x-tenant, exact: "t%d"}]}, timeout: %dms, cluster: c%d}\n'
            % (i, i, i % 7, timeout, i % clusters)
        )
    out.append('  - {name: last, match: {prefix: /}, direct_response: {status: 200}}\nclusters:\n')
    for i in range(clusters):
        connect = 1000 + (version if i % 10 == 0 else 0)
        out.append(
            '- {name: c%d, protocol: http1, connect_timeout: %dms, endpoints: [{address: "127.0.0.1:9", weight: %d}, "127.0.0.2:9"]}\n'
            % (i, connect, 1 + version % 5)
        )
    return ''.join(out)


def endpoints_config(size, version, admin, port):
    """One cluster with so many endpoints, of which one changes."""
    out = ['workers: 2\nadmin: {address: "127.0.0.1:%d"}\nlog: {level: warn}\nlisteners:\n' % admin]
    out.append('- {name: in, address: "127.0.0.1:%d", protocol: http1, routes: r}\n' % port)
    out.append('routes:\n- {name: r, routes: [{match: {path: /c}, cluster: c}, {match: {prefix: /}, direct_response: {status: 200}}]}\n')
    out.append('clusters:\n- name: c\n  protocol: http1\n  endpoints:\n')
    for i in range(size):
        last = 100 + version if i == size // 2 else 1
        out.append('  - "10.%d.%d.%d:80"\n' % (i >> 8, i & 255, last))
    return ''.join(out)


class Prober(threading.Thread):
    """One request after the other on one connection: the longest is how long a loop stood still, or this machine did."""

    def __init__(self, port, path='/'):
        super().__init__(daemon=True)
        self.port = port
        self.path = path
        self.count = 0
        self.worst = 0.0
        self.stopping = False
        self.failed = None

    def run(self):
        try:
            connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
            while not self.stopping:
                began = time.monotonic()
                connection.request('GET', self.path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise OSError('%s: status %d' % (self.path, answer.status))
                self.count += 1
                self.worst = max(self.worst, time.monotonic() - began)
                time.sleep(0.0005)
        except OSError as error:
            self.failed = str(error)


def pieces(text):
    """Upper bound, in ms, of the longest piece of work that the control thread gave to a loop."""
    buckets = {}
    for bound, count in re.findall(r'dragoman_worker_control_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\S+)', text):
        buckets[float(bound)] = buckets.get(float(bound), 0) + float(count)
    total = max(buckets.values(), default=0)
    return min((bound for bound, count in buckets.items() if count >= total), default=0) * 1e3


def measure(program, make, size, cpu=None):
    admin, port = peers.free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'dragoman.yaml')

        def write(version):
            with open(path + '.new', 'w', encoding='utf-8') as file:
                file.write(make(size, version, admin, port))
            os.rename(path + '.new', path)

        def ask(method, target):
            connection = http.client.HTTPConnection('127.0.0.1', admin, timeout=60)
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        write(1)
        process = peers.start([program, 'run', '--no-watch', '-c', path], cpu, stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    if ask('GET', '/ready')[0] == 200:
                        break
                except OSError:
                    pass
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError('dragoman did not start with %d' % size)
                time.sleep(0.01)
            def finish(probers):
                for prober in probers:
                    prober.stopping = True
                    prober.join()
                    if prober.failed:
                        raise RuntimeError(prober.failed)

            ready = Prober(admin, '/ready')
            probers = [ready] + [Prober(port) for _ in range(4)]
            for prober in probers:
                prober.start()
            took = []
            for version in range(2, 2 + RELOADS):
                write(version)
                began = time.monotonic()
                status, text = ask('POST', '/reload')
                took.append((time.monotonic() - began) * 1e3)
                if status != 200:
                    raise RuntimeError(text)
            finish(probers)
            scraped = [Prober(admin, '/ready'), Prober(admin, '/metrics'), Prober(admin, '/metrics')]
            for prober in scraped:
                prober.start()
            while scraped[0].is_alive() and scraped[0].count < PROBES:
                time.sleep(0.01)
            finish(scraped)
            return {
                'reload_ms': min(took),
                'piece_ms': pieces(ask('GET', '/metrics')[1]),
                'worst_request_ms': max(p.worst for p in probers if p is not ready) * 1e3,
                'worst_ready_ms': ready.worst * 1e3,
                'worst_ready_scraped_ms': scraped[0].worst * 1e3,
            }
        finally:
            peers.stop(process)


def measure_all(program, sizes=SIZES, cpu=None):
    return {
        kind: {str(size): measure(program, make, size, cpu) for size in sizes}
        for kind, make in (('routes and clusters', config), ('endpoints', endpoints_config))
    }


def main(arguments):
    sizes = [int(text) for text in arguments[1:]] or SIZES
    for kind, rows in measure_all(arguments[0], sizes).items():
        for size, row in rows.items():
            print(kind, size, json.dumps(row))


if __name__ == '__main__':
    main(sys.argv[1:])
