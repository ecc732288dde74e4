#!/usr/bin/env python3
"""Measures Dragoman beside other proxies and writes RESULTS.md and results.json (see README.md).

Every number is a ratio in the making: peers take turns (A B C A B C ...), and medians of the rounds are
compared. The proxy has one worker on one CPU; load and backend share the other. The main figure is the
proxy's own CPU time divided by the requests it answered.
"""

import argparse
import collections
import datetime
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import h2load
import peers
import procstat
import report
import scale

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

Workload = collections.namedtuple('Workload', 'name protocol connections depth rate title')
CLOSED = (
    Workload('http_64', 'http', 64, 1, 0, 'HTTP/1.1, 64 connections'),
    Workload('http_256', 'http', 256, 1, 0, 'HTTP/1.1, 256 connections'),
    Workload('h2_16x32', 'h2', 16, 32, 0, 'HTTP/2, 16 connections, 32 streams'),
    Workload('h2_64x1', 'h2', 64, 1, 0, 'HTTP/2, 64 connections, 1 stream'),
    Workload('grpc_16x32', 'grpc', 16, 32, 0, 'gRPC, 16 connections, 32 calls at a time'),
    Workload('tcp_64x1', 'tcp', 64, 1, 0, 'TCP, 64 connections, depth 1'),
    Workload('tcp_64x16', 'tcp', 64, 16, 0, 'TCP, 64 connections, depth 16'),
    Workload('bolt_64x1', 'bolt', 64, 1, 0, 'Bolt, 64 connections, depth 1'),
    Workload('bolt_64x16', 'bolt', 64, 16, 0, 'Bolt, 64 connections, depth 16'),
    Workload('bolt_8x64', 'bolt', 8, 64, 0, 'Bolt, 8 connections, depth 64'),
)
# TLS needs wrk, which takes up its sessions again where the server lets it; certificates are P-256.
TLS = (
    Workload('https_64', 'https', 64, 1, 0, 'HTTPS, 64 connections'),
    Workload('https_upload', 'https', 16, 1, 0, 'HTTPS, 16 connections, 64 KiB bodies to the backend'),
    Workload('tls_resumed', 'https', 16, 1, 0, 'TLS handshakes: HTTPS, a connection for each request, sessions resumed'),
    Workload('tls_new', 'https_new', 16, 1, 0, 'TLS handshakes: HTTPS, a connection for each request, no session resumed'),
)
OPEN = (
    Workload('rate_http', 'http', 64, 1, 4000, 'HTTP/1.1, 4,000 requests/s'),
    Workload('rate_bolt', 'bolt', 64, 1, 4000, 'Bolt, 4,000 calls/s'),
)
PARTS = ('closed', 'tls', 'open', 'syscalls', 'memory', 'start', 'descriptor', 'scale', 'callgrind')
LOAD_FIELDS = ('total_requests', 'errors', 'rps', 'p50_us', 'p90_us', 'p99_us', 'p999_us', 'max_us')
WAITED_MAX = 0.10  # ... nor one in which a proxy waited for its CPU longer than this part of the time
TCP_BYTES = 1340  # about a Bolt call with 1 KB of content
MOVED_MAX = 0.15  # a round in which `direct` moved by more than this is not used
# protocol, connections, depth, calls of the short and of the long run
CALLGRIND = (('http', 8, 1, 2000, 12000), ('bolt', 8, 16, 8000, 48000))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, options):
        self.options = options
        cpus = sorted(os.sched_getaffinity(0))
        self.load_cpu, self.proxy_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
        self.warnings = []
        if len(cpus) < 2:
            self.warn(
                'only one CPU is allowed: nothing is pinned; proxy, load and backend take each other\'s time'
            )
        self.directory = tempfile.mkdtemp(prefix='dragoman-bench-')
        os.chmod(self.directory, 0o755)
        self.load_binary = self.find_binary('bench_load')
        self.backend = peers.Backend(self.find_binary('bench_backend'), self.load_cpu, self.directory)
        self.direct = peers.Direct('direct', self.backend)
        if not self.backend.h2:
            self.warn('HTTP/2 IS NOT MEASURED: nghttpd or h2load is not installed')
        peers.Dragoman.binary = options.dragoman or os.path.join(options.bin_dir, 'dragoman')
        self.peers, self.missing = [], {}
        kinds = dict(peers.KINDS)
        if options.beside:
            peers.Before.binary = options.beside
            kinds[report.BEFORE] = peers.Before
        for name in [*options.peers, *([report.BEFORE] if options.beside else [])]:
            peer = kinds[name](name, self.directory, self.backend.ports, self.proxy_cpu)
            why = peer.missing()
            if why is None:
                self.peers.append(peer)
            else:
                self.missing[name] = why
                self.warn('%s IS NOT MEASURED: %s' % (name.upper(), why))
        self.use_wrk = options.http_load == 'wrk' or (
            options.http_load == 'auto' and shutil.which('wrk') is not None
        )
        self.failed = False

    def find_binary(self, name):
        for directory in (os.path.join(self.options.bin_dir, 'tests', 'bench'), self.options.bin_dir):
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK):
                return path
        sys.exit('no %s in %s: build it first' % (name, self.options.bin_dir))

    def warn(self, text):
        self.warnings.append(text)
        say('*** ' + text)

    def close(self):
        for peer in self.peers:
            peer.stop()
        peers.stop(self.backend.process)
        if self.backend.h2:
            for process in self.backend.h2.values():
                peers.stop(process)
        self.backend.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wanted(self, workloads):
        return [
            workload
            for workload in workloads
            if re.search(self.options.workloads or '', workload.name)
            and (workload.protocol not in peers.OVER_H2 or self.backend.h2)
        ]

    # ---- one measurement -------------------------------------------------------------------------

    def load(self, peer, workload, seconds, wrk_allowed=True):
        """Runs the load against one peer; its result as a dict. Errors are said, and fail the whole run."""
        target = '127.0.0.1:%d' % peer.ports[workload.protocol]
        if workload.protocol in peers.OVER_H2:
            grpc = workload.protocol == 'grpc'
            result, code = h2load.run(
                'http://%s/%s' % (target, peers.GRPC_METHOD if grpc else 'bench2'),
                workload.connections,
                workload.depth,
                seconds,
                lambda command, **options: peers.start(command, self.load_cpu, **options),
                peers.GRPC_MESSAGE if grpc else None,
            )
            return self.check(peer, workload, result, code, '')
        environment = None
        if workload.protocol in peers.OVER_TLS or (
            workload.protocol == 'http' and self.use_wrk and wrk_allowed and not workload.rate
        ):
            scheme = 'https' if workload.protocol in peers.OVER_TLS and peer is not self.direct else 'http'
            if workload.name == 'https_upload':
                environment = {**os.environ, 'WRK_POST_BYTES': '65536'}
            command = [
                'wrk',
                '-t1',
                '-c%d' % workload.connections,
                '-d%ds' % max(1, round(seconds)),
                '--latency',
                '-s',
                os.path.join(HERE, 'wrk_report.lua'),
                *(['-H', 'Connection: close'] if workload.name.startswith('tls_') else []),
                '%s://%s/bench' % (scheme, target),
            ]
        else:
            command = [
                self.load_binary,
                '--proto',
                workload.protocol,
                '--target',
                target,
                '--connections',
                str(workload.connections),
                '--depth',
                str(workload.depth),
                '--seconds',
                str(seconds),
            ]
            if workload.protocol == 'tcp':
                command += ['--size', str(TCP_BYTES)]
            if workload.rate:
                command += ['--rate', str(workload.rate), '--warmup', '0.3']
        process = peers.start(
            command, self.load_cpu, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        text = process.communicate(timeout=seconds + 60)[0]
        try:
            result = json.loads(text.splitlines()[-1])
        except (IndexError, ValueError):  # wrk that could not connect
            result = {**dict.fromkeys(LOAD_FIELDS, 0), 'errors': 1, 'failures': {'no result': 1}}
        return self.check(peer, workload, result, process.returncode, text)

    def check(self, peer, workload, result, code, text):
        if peer is self.direct and not result['total_requests']:
            raise RuntimeError('the backend does not answer: ' + text)
        if result['errors'] or code != 0 or result['total_requests'] == 0:
            self.failed = True
            self.warn(
                '%s, %s: %d of %d requests failed: %s'
                % (
                    peer.name,
                    workload.name,
                    result['errors'],
                    result['errors'] + result['total_requests'],
                    result['failures'],
                )
            )
        return result

    def measure(self, peer, workload):
        if not workload.rate:
            self.load(peer, workload, self.options.warmup)
        pid = peer.pid_of(workload.protocol)
        (ran, waited), (reads, writes) = procstat.cpu_ns(pid), procstat.io_calls(pid)
        began = time.monotonic_ns()
        result = self.load(peer, workload, self.options.seconds)
        answered = max(1, result['total_requests'])
        elapsed = time.monotonic_ns() - began
        ran_after, waited_after = procstat.cpu_ns(pid)
        reads_after, writes_after = procstat.io_calls(pid)
        return {
            'cpu_us': (ran_after - ran) / 1e3 / answered,
            'waited': (waited_after - waited) / elapsed,
            'read_calls': (reads_after - reads) / answered,
            'write_calls': (writes_after - writes) / answered,
            **{key: result[key] for key in LOAD_FIELDS},
        }

    def speaking(self, protocol):
        return [peer for peer in self.peers if protocol in peer.protocols]

    # ---- workloads -------------------------------------------------------------------------------

    def run_workload(self, workload):
        """Rounds in which every peer has its turn, until enough are steady (at most twice as many)."""
        rounds, kept = [], []
        moving = ('p50_us',) if workload.rate else ('cpu_us', 'rps')
        while len(kept) < self.options.rounds and len(rounds) < 2 * self.options.rounds:
            turn = {}
            order = [self.direct, *self.speaking(workload.protocol)]
            # What comes first in a round may have it better or worse: two builds of one program take turns in that as well.
            for peer in reversed(order) if self.options.beside and len(rounds) % 2 else order:
                turn[peer.name] = self.measure(peer, workload)
            rounds.append({peer.name: turn[peer.name] for peer in order})
            say(
                '  %s round %d: %s'
                % (
                    workload.name,
                    len(rounds),
                    '  '.join(
                        '%s %.2f us %.0f/s' % (name, row['cpu_us'], row['rps']) for name, row in turn.items()
                    ),
                )
            )
            medians = {key: statistics.median(turn['direct'][key] for turn in rounds) for key in moving}
            kept = [
                turn
                for turn in rounds
                if all(abs(turn['direct'][key] / medians[key] - 1) <= MOVED_MAX for key in moving)
                and all(row['waited'] <= WAITED_MAX for name, row in turn.items() if name != 'direct')
            ]
        steady = len(kept) >= min(3, self.options.rounds)
        if not steady:
            self.warn(
                '%s: in %d of %d rounds `direct` moved more than %d %%, or something else ran on the '
                'proxy\'s CPU; all are used, and mean little'
                % (workload.name, len(rounds) - len(kept), len(rounds), MOVED_MAX * 100)
            )
            kept = rounds
        rows = {}
        for name in rounds[0]:
            rows[name] = {key: statistics.median(turn[name][key] for turn in kept) for key in rounds[0][name]}
            rows[name]['cpu_us_min'] = min(turn[name]['cpu_us'] for turn in kept)
            rows[name]['cpu_us_max'] = max(turn[name]['cpu_us'] for turn in kept)
            if workload.rate:
                for key in ('p50_us', 'p99_us'):
                    rows[name]['added_' + key] = statistics.median(
                        turn[name][key] - turn['direct'][key] for turn in kept
                    )
        return {
            'title': workload.title,
            'protocol': workload.protocol,
            'beside': report.beside(kept),
            'rows': rows,
            'rounds': rounds,
            'rounds_used': len(kept),
            'steady': steady,
        }

    def run_syscalls(self):
        """System calls per request, in a run of its own: perf would show in the CPU figures."""
        if not procstat.SyscallCounter.available():
            self.warn('perf can\'t count system calls here: no system call table')
            return {}
        table = {}
        for workload in self.wanted(CLOSED):
            table[workload.name] = {'title': workload.title, 'rows': {}}
            for peer in self.speaking(workload.protocol):
                self.load(peer, workload, self.options.warmup)
                with procstat.SyscallCounter(peer.pid) as counter:
                    time.sleep(0.2)  # perf attaches
                    answered = self.load(peer, workload, 1)['total_requests']
                if counter.counts is not None and answered:
                    table[workload.name]['rows'][peer.name] = {
                        key: count / answered for key, count in counter.counts.items()
                    }
            say(
                '  %s: %s'
                % (
                    workload.name,
                    '  '.join(
                        '%s %.2f' % (name, row['all']) for name, row in table[workload.name]['rows'].items()
                    ),
                )
            )
        return table

    # ---- memory and start ------------------------------------------------------------------------

    def run_memory(self):
        """User memory at start and for each idle connection that has made one request."""
        count = self.options.idle_connections
        table = {}
        for peer in self.peers:
            if '64k' in peer.name:
                continue
            table[peer.name] = {}
            for protocol in peer.protocols:
                if protocol in (*peers.OVER_TLS, 'grpc'):
                    continue  # nothing here holds idle connections of it, or they are those of h2
                if protocol == 'bolt' and not isinstance(peer, peers.Dragoman):
                    continue  # the same as their tcp
                peer.stop()
                peer.start()
                time.sleep(0.3)
                row = table[peer.name]
                row.setdefault('start_anonymous', procstat.anonymous_bytes(peer.pid))
                row.setdefault('start_proportional', procstat.proportional_bytes(peer.pid))
                self.load(peer, Workload('warm-up', protocol, 64, 1, 0, ''), 1 if protocol == 'h2' else 0.5, wrk_allowed=False)
                time.sleep(0.5)
                before = procstat.anonymous_bytes(peer.pid)
                row['idle_' + protocol] = self.idle_bytes(peer, protocol, count, before)
            say('  %s: %s' % (peer.name, table[peer.name]))
        return table

    def idle_bytes(self, peer, protocol, count, before):
        target = '127.0.0.1:%d' % peer.ports[protocol]
        command = [sys.executable, os.path.join(HERE, 'h2idle.py'), target, '/bench2', str(count)]
        if protocol != 'h2':
            command = [
                self.load_binary,
                '--proto',
                protocol,
                '--target',
                target,
                '--connect-idle',
                str(count),
                '--opening-max',
                '32',
                '--seconds',
                '60',
            ]
        process = peers.start(
            command,
            self.load_cpu,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = process.stdout.readline()  # comes when all are there, or at the end of its time
        time.sleep(0.5)
        after = procstat.anonymous_bytes(peer.pid)
        text = process.communicate(timeout=30)[0]
        if not line.startswith('idle ') or process.returncode != 0:
            self.failed = True
            self.warn(
                '%s: %d idle %s connections failed: %s' % (peer.name, count, protocol, (line + text).strip())
            )
            return None
        return (after - before) / count

    def run_start(self):
        table = {peer.name: [] for peer in self.peers if '64k' not in peer.name}
        for _ in range(self.options.starts):
            for peer in self.peers:
                if peer.name in table:
                    peer.stop()
                    table[peer.name].append(peer.start() * 1e3)
        return {name: statistics.median(times) for name, times in table.items()}

    # ---- codecs ----------------------------------------------------------------------------------

    def run_descriptor(self):
        """What the descriptor of Bolt v1 costs beside the codec in C++: no network, the functions alone."""
        for name in ('tests/descriptor/descriptor_bench', 'descriptor_bench'):
            path = os.path.join(self.options.bin_dir, name)
            if not os.access(path, os.X_OK):
                continue
            process = peers.start([path, '--json'], self.proxy_cpu, stdout=subprocess.PIPE, text=True)
            text = process.communicate(timeout=60)[0]
            if process.returncode != 0:
                self.failed = True
                self.warn('descriptor_bench failed')
                return {}
            table = json.loads(text)
            say('  a descriptor costs %.2f times the codec in C++ (target %.2f)' % (table['ratio'], table['target']))
            return table
        self.warn('DESCRIPTORS ARE NOT MEASURED: no descriptor_bench in %s' % self.options.bin_dir)
        return {}

    # ---- size -------------------------------------------------------------------------------------

    def run_scale(self):
        """What it costs that there are many routes, clusters and endpoints."""
        found = {'lookup_ns': {}, 'reload': {}}
        path = os.path.join(self.options.bin_dir, 'tests/route/route_bench')
        if os.access(path, os.X_OK):
            process = peers.start([path, '--json'], self.proxy_cpu, stdout=subprocess.PIPE, text=True)
            text = process.communicate(timeout=120)[0]
            if process.returncode == 0:
                found['lookup_ns'] = json.loads(text)
        if not found['lookup_ns']:
            self.warn('FINDING ROUTES IS NOT MEASURED: no route_bench in %s' % self.options.bin_dir)
        try:
            found['reload'] = scale.measure_all(peers.Dragoman.binary, scale.SIZES[:2] if self.options.quick else scale.SIZES)
        except RuntimeError as error:
            self.failed = True
            self.warn('RELOADS ARE NOT MEASURED: %s' % error)
        return found

    # ---- instructions ----------------------------------------------------------------------------

    def run_callgrind(self):
        """Dragoman's instructions per request: two runs of different length, so that the start drops out."""
        dragoman = next((peer for peer in self.peers if isinstance(peer, peers.Dragoman)), None)
        if dragoman is None or shutil.which('valgrind') is None:
            self.warn('callgrind: needs dragoman and valgrind')
            return {}
        table = {}
        for protocol, connections, depth, few, many in CALLGRIND:
            counts = [
                self.instructions(dragoman, protocol, connections, depth, calls) for calls in (few, many)
            ]
            if None not in counts:
                table['%s %dx%d' % (protocol, connections, depth)] = (counts[1] - counts[0]) / (many - few)
        say('  instructions/request: %s' % table)
        return table

    def instructions(self, peer, protocol, connections, depth, calls):
        output = os.path.join(self.directory, 'callgrind.out')
        peer.stop()
        peer.start(
            prefix=['valgrind', '--tool=callgrind', '--callgrind-out-file=' + output], ready_timeout_s=60
        )
        command = [
            self.load_binary,
            '--proto',
            protocol,
            '--target',
            '127.0.0.1:%d' % peer.ports[protocol],
            '--connections',
            str(connections),
            '--depth',
            str(depth),
            '--max-requests',
            str(calls),
            '--seconds',
            '120',
            '--timeout-ms',
            '60000',
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        peer.process.send_signal(signal.SIGTERM)
        peer.process.wait(timeout=60)
        if done.returncode != 0:
            self.failed = True
            self.warn('callgrind, %s: %s' % (protocol, done.stdout.strip()))
            return None
        with open(output, encoding='utf-8', errors='replace') as file:
            found = re.search(r'^(?:summary|totals): (\d+)', file.read(), re.M)
        return int(found.group(1)) if found else None

    # ---- everything ------------------------------------------------------------------------------

    def run(self):
        results = {
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
            'command': 'tests/bench/run.py ' + shlex.join(self.options.arguments),
            'commit': commit(),
            'machine': procstat.machine(),
            'http_load': 'wrk' if self.use_wrk else 'bench_load',
            'rounds': self.options.rounds,
            'seconds': self.options.seconds,
            'idle_connections': self.options.idle_connections,
            'peers': {},
            'missing': self.missing,
            'workloads': {},
            'rates': {},
            'syscalls': {},
            'memory': {},
            'start_ms': {},
            'descriptor': {},
            'scale': {},
            'callgrind': {},
        }
        only = self.options.only
        for peer in list(self.peers):
            results['peers'][peer.name] = (peer.version() + ' ' + peer.note).strip()
            try:
                peer.start()
            except RuntimeError as error:
                self.failed = True
                self.peers.remove(peer)
                self.missing[peer.name] = 'did not start'
                self.warn('%s IS NOT MEASURED: %s' % (peer.name.upper(), error))
        if 'tls' in only and shutil.which('wrk') is None:
            self.warn('TLS IS NOT MEASURED: wrk is not installed')
            only = [part for part in only if part != 'tls']
        for part, key, workloads in (
            ('closed', 'workloads', CLOSED),
            ('tls', 'workloads', TLS),
            ('open', 'rates', OPEN),
        ):
            for workload in self.wanted(workloads) if part in only else ():
                results[key][workload.name] = self.run_workload(workload)
        for part, key, method in (
            ('syscalls', 'syscalls', self.run_syscalls),
            ('memory', 'memory', self.run_memory),
            ('start', 'start_ms', self.run_start),
            ('descriptor', 'descriptor', self.run_descriptor),
            ('scale', 'scale', self.run_scale),
            ('callgrind', 'callgrind', self.run_callgrind),
        ):
            if part in only:
                say(part)
                results[key] = method()
        results['warnings'] = self.warnings
        return results


def commit():
    def git(*arguments):
        return subprocess.run(['git', '-C', ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    dirty = git('status', '--porcelain', '--untracked-files=no')
    return (git('rev-parse', '--short=12', 'HEAD') or 'unknown') + (' with local changes' if dirty else '')


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--bin-dir', default=os.path.join(ROOT, 'build', 'release'), help='where dragoman and the tools are'
    )
    parser.add_argument('--dragoman', help='the dragoman program, if it is not in --bin-dir')
    parser.add_argument(
        '--beside', metavar='BINARY', help='another build of dragoman takes turns, too; exit code 1 if a row is worse by 3 %%'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=3, help='of one measurement')
    parser.add_argument(
        '--quick', action='store_true', help='2 rounds of 1 s, fewer connections: does it work at all'
    )
    parser.add_argument(
        '--peers',
        type=lambda text: text.split(','),
        default=list(peers.KINDS),
        help='of ' + ','.join(peers.KINDS),
    )
    parser.add_argument('--only', type=lambda text: text.split(','), help='parts, of ' + ','.join(PARTS))
    parser.add_argument('--workloads', help='only the workloads whose name this regular expression finds')
    parser.add_argument('--callgrind', action='store_true', help='instructions per request, too')
    parser.add_argument('--http-load', choices=('auto', 'wrk', 'bench_load'), default='auto')
    parser.add_argument('--idle-connections', type=int, default=5000)
    parser.add_argument('--starts', type=int, default=5)
    parser.add_argument('--out', help='directory of RESULTS.md and results.json (a whole run: tests/bench)')
    options = parser.parse_args(arguments)
    for name in options.peers:
        if name not in peers.KINDS:
            parser.error('unknown peer ' + name)
    for name in options.only or ():
        if name not in PARTS:
            parser.error('unknown part ' + name)
    whole = not (options.quick or options.only or options.workloads or options.beside or options.peers != list(peers.KINDS))
    options.only = set(options.only or PARTS[:-1]) | ({'callgrind'} if options.callgrind else set())
    options.warmup = 0.5
    if options.quick:
        options.peers = [name for name in options.peers if '64k' not in name]
        options.rounds, options.seconds, options.warmup = 2, 1, 0.2
        options.idle_connections, options.starts = 1000, 2
    options.bin_dir = os.path.abspath(options.bin_dir)
    options.out = options.out or (HERE if whole else os.path.join(options.bin_dir, 'bench-results'))
    options.arguments = arguments
    return options


def main(arguments):
    options = parse_options(arguments)
    bench = Bench(options)
    # An interrupted run still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        results = bench.run()
    finally:
        bench.close()
    os.makedirs(options.out, exist_ok=True)
    text = report.markdown(results)
    with open(os.path.join(options.out, 'RESULTS.md'), 'w', encoding='utf-8') as file:
        file.write(text)
    with open(os.path.join(options.out, 'results.json'), 'w', encoding='utf-8') as file:
        json.dump(results, file, indent=1)
        file.write('\n')
    print(text)
    say('written to ' + options.out)
    worse = report.worse(results)
    if worse:
        say('more than %d %% worse than before: %s' % (report.WORSE_MAX * 100, ', '.join(worse)))
    return 1 if bench.failed or worse or 'dragoman' in bench.missing else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
