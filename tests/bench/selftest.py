#!/usr/bin/env python3
"""Tests of the bench tools themselves, without a proxy: selftest.py --bin-dir DIR [unittest arguments].

A load generator that can't see a wrong answer, or a stall, is worth nothing; most cases here make one happen.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import peers
import report

BIN_DIR = None
LIMIT_S = 20  # no program here runs longer


class Backend:
    """bench_backend with one listener per protocol on free ports."""

    def __init__(self, *flags):
        command = [os.path.join(BIN_DIR, 'bench_backend'), '--http', '0', '--bolt', '0', '--tcp', '0', *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.targets = {}
        for line in self.process.stdout:
            words = line.split()
            if words == ['ready']:
                return
            self.targets[words[1]] = words[2]
        raise RuntimeError('bench_backend did not start')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Ends it and returns its counters."""
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=LIMIT_S)[0])


def load_command(protocol, target, *flags):
    return [os.path.join(BIN_DIR, 'bench_load'), '--proto', protocol, '--target', target, *map(str, flags)]


def load(protocol, target, *flags):
    """Runs bench_load; returns (exit code, result)."""
    done = subprocess.run(
        load_command(protocol, target, *flags), capture_output=True, text=True, timeout=LIMIT_S
    )
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}


def refused_target():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return '127.0.0.1:%d' % probe.getsockname()[1]


class BenchTools(unittest.TestCase):
    def assert_clean(self, code, result):
        self.assertEqual((code, result['errors'], result['failures']), (0, 0, {}), result)

    def test_every_protocol_closed_loop(self):
        with Backend() as backend:
            for protocol in ('http', 'bolt', 'tcp'):
                for connections, depth in ((1, 1), (8, 4)):
                    with self.subTest(protocol=protocol, connections=connections, depth=depth):
                        code, result = load(
                            protocol,
                            backend.targets[protocol],
                            '--connections',
                            connections,
                            '--depth',
                            depth,
                            '--max-requests',
                            3001,
                        )
                        self.assert_clean(code, result)
                        self.assertEqual(result['requests'], 3001)
                        self.assertEqual(result['connects'], connections)
                        self.assertLessEqual(result['p50_us'], result['p99_us'])
                        self.assertLessEqual(result['p99_us'], result['max_us'])
            counters = backend.stop()
            self.assertEqual(counters['http_requests'], 6002)
            self.assertEqual(counters['bolt_requests'], 6002)
            self.assertEqual(counters['tcp_bytes'], 6002 * 1024)
            self.assertEqual(counters['protocol_errors'], 0)

    def test_sizes(self):
        with Backend() as backend:
            for protocol, flags in (('http', ['--post']), ('bolt', []), ('tcp', [])):
                for size in (24, 300_000):
                    with self.subTest(protocol=protocol, size=size):
                        code, result = load(
                            protocol,
                            backend.targets[protocol],
                            '--connections',
                            2,
                            '--depth',
                            8,
                            '--size',
                            size,
                            '--max-requests',
                            100,
                            *flags,
                        )
                        self.assert_clean(code, result)
                        self.assertEqual(result['requests'], 100)

    def test_warmup_is_not_measured(self):
        with Backend() as backend:
            code, result = load('bolt', backend.targets['bolt'], '--warmup', 0.2, '--seconds', 0.2)
            self.assert_clean(code, result)
            self.assertLess(result['requests'], result['total_requests'])
            self.assertGreater(result['seconds'], 0.1)  # less than --seconds when the first turn after the warm-up comes late

    def test_open_loop_rate(self):
        with Backend() as backend:
            code, result = load(
                'http', backend.targets['http'], '--connections', 4, '--rate', 2000, '--seconds', 0.5
            )
            # Every call that was due is in the result, also one that a starved machine had no time to send.
            not_sent = result['failures'].pop('not_sent', 0)
            self.assertEqual((code, result['failures']), (1 if not_sent else 0, {}), result)
            self.assertEqual(result['total_requests'] + not_sent, 1000)

    def test_open_loop_counts_a_stall_for_every_call_that_was_due(self):
        with Backend() as backend:
            command = load_command(
                'tcp', backend.targets['tcp'], '--connections', 2, '--rate', 1000, '--seconds', 1
            )
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(process.stderr.readline(), 'running\n')
            backend.process.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            backend.process.send_signal(signal.SIGCONT)
            result = json.loads(process.communicate(timeout=LIMIT_S)[0])
            not_sent = result['failures'].pop('not_sent', 0)
            self.assertEqual((process.returncode, result['failures']), (1 if not_sent else 0, {}), result)
            self.assertEqual(result['total_requests'] + not_sent, 1000)
            # 400 of 1000 calls were due in the stall; a tenth of them all waited longer than 250 ms.
            self.assertGreater(result['p90_us'], 250_000)

    def test_overload_is_reported(self):
        with Backend() as backend:
            backend.process.send_signal(signal.SIGSTOP)
            code, result = load(
                'bolt', backend.targets['bolt'], '--rate', 1000, '--seconds', 0.2, '--timeout-ms', 400
            )
            self.assertEqual(code, 1)
            self.assertEqual(result['failures'], {'not_sent': 199, 'timeout': 1})

    def test_wrong_answers_are_seen(self):
        cases = (
            ('http', 'content', 'wrong_content'),
            ('tcp', 'content', 'wrong_content'),
            ('bolt', 'content', 'wrong_content'),
            ('bolt', 'id', 'unknown_id'),
            ('bolt', 'drop', 'timeout'),
        )
        for protocol, lie, failure in cases:
            with self.subTest(protocol=protocol, lie=lie), Backend(
                '--lie-every', '100', '--lie-kind', lie
            ) as backend:
                code, result = load(
                    protocol, backend.targets[protocol], '--max-requests', 250, '--timeout-ms', 300
                )
                self.assertEqual(code, 1)
                self.assertEqual(result['failures'][failure], 2, result)
                self.assertEqual(result['requests'], 248)
                self.assertEqual(backend.stop()['lies'], 2)

    def test_goaway_ends_a_connection_without_a_failure(self):
        with Backend('--goaway-after', '50') as backend:
            code, result = load(
                'bolt',
                backend.targets['bolt'],
                '--goaway',
                '--connections',
                4,
                '--depth',
                8,
                '--max-requests',
                5000,
            )
            self.assert_clean(code, result)
            self.assertEqual(result['requests'], 5000)
            counters = backend.stop()
            self.assertGreater(result['goaways'], 50)
            self.assertLessEqual(result['goaways'], counters['goaways'])
            self.assertEqual(counters['bolt_requests'], 5000)
            # Only calls that were on their way already may follow a GoAway.
            self.assertLessEqual(counters['requests_after_goaway_max'], 8)

    def test_goaway_with_retire_ends_the_run(self):
        with Backend('--goaway-after', '50') as backend:
            code, result = load(
                'bolt',
                backend.targets['bolt'],
                '--goaway',
                '--on-close',
                'retire',
                '--connections',
                4,
                '--seconds',
                10,
            )
            self.assert_clean(code, result)
            self.assertEqual(result['goaways'], 4)
            self.assertEqual(result['total_requests'], backend.stop()['bolt_requests'])

    def test_goaway_is_a_failure_unless_allowed(self):
        with Backend('--goaway-after', '50') as backend:
            code, result = load('bolt', backend.targets['bolt'], '--max-requests', 200)
            self.assertEqual(code, 1)
            self.assertIn('unexpected_goaway', result['failures'])

    def test_nobody_listens(self):
        code, result = load('http', refused_target(), '--seconds', 0.1)
        self.assertEqual(code, 1)
        self.assertIn('connect_refused', result['failures'])
        self.assertEqual(result['total_requests'], 0)

    def test_a_server_that_dies_under_load(self):
        with Backend() as backend:
            command = load_command(
                'bolt', backend.targets['bolt'], '--connections', 4, '--depth', 4, '--seconds', 0.4
            )
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(process.stderr.readline(), 'running\n')
            backend.process.kill()
            result = json.loads(process.communicate(timeout=LIMIT_S)[0])
            self.assertEqual(process.returncode, 1)
            lost = result['failures'].get('closed', 0) + result['failures'].get('reset', 0)
            self.assertEqual(lost, 16, result)
            self.assertGreater(result['failures']['connect_refused'], 0)

    def test_idle_connections_stay_until_stdin_closes(self):
        with Backend() as backend:
            for protocol in ('http', 'bolt', 'tcp'):
                with self.subTest(protocol=protocol):
                    process = subprocess.Popen(
                        load_command(protocol, backend.targets[protocol], '--connect-idle', 300),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        text=True,
                    )
                    self.assertEqual(process.stdout.readline(), 'idle 300\n')
                    self.assertIsNone(process.poll())
                    result = json.loads(process.communicate(timeout=LIMIT_S)[0])
                    self.assert_clean(process.returncode, result)
                    self.assertEqual(result['total_requests'], 300)
                    self.assertEqual(result['connects'], 300)

    @unittest.skipUnless(shutil.which('nghttpd'), 'nghttpd is not installed')
    def test_idle_http2_connections_stay_until_stdin_closes(self):
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, 'bench'), 'wb') as file:
                file.write(b'x' * 1024)
            port = peers.free_ports(1)[0]
            server = subprocess.Popen(['nghttpd', '--no-tls', '-a', '127.0.0.1', '-d', directory, str(port)])
            try:
                holder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'h2idle.py')
                held = [sys.executable, holder, '127.0.0.1:%d' % port]
                for path, count in (('/bench', 300), ('/none', 40)):  # a 404 is an answer, too
                    while True:
                        process = subprocess.Popen(
                            [*held, path, str(count)],
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            text=True,
                        )
                        line = process.stdout.readline()
                        if line or server.poll() is not None or 'refused' not in process.communicate()[1]:
                            break  # else nghttpd is still on its way
                    self.assertEqual(line, 'idle %d\n' % count)
                    self.assertIsNone(process.poll())
                    process.communicate(timeout=LIMIT_S)
                    self.assertEqual(process.returncode, 0)
                process = subprocess.Popen(
                    [*held, '/bench', '5'],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                self.assertEqual(process.stdout.readline(), 'idle 5\n')
                server.kill()
                process.wait(timeout=LIMIT_S)
                self.assertEqual(process.returncode, 1)
                process.communicate()
            finally:
                server.kill()
                server.wait()

    def test_sigterm_ends_a_run_cleanly(self):
        with Backend() as backend:
            process = subprocess.Popen(
                load_command('bolt', backend.targets['bolt'], '--depth', 4, '--seconds', 60),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.assertEqual(process.stderr.readline(), 'running\n')
            process.send_signal(signal.SIGTERM)
            result = json.loads(process.communicate(timeout=LIMIT_S)[0])
            self.assert_clean(process.returncode, result)
            self.assertEqual(result['total_requests'], backend.stop()['bolt_requests'])

    def test_usage_errors(self):
        for flags in (['--proto', 'smtp'], ['--depth', '0'], ['--depth', 'x'], ['--size', '5'], ['extra']):
            with self.subTest(flags=flags):
                code, _ = load('bolt', '127.0.0.1:1', *flags)
                self.assertEqual(code, 2)
        self.assertEqual(load('bolt', 'localhost', '--seconds', '1')[0], 2)


class Beside(unittest.TestCase):
    """What run.py --beside makes of rounds of two builds."""

    @staticmethod
    def rounds(*pairs):
        return [{'direct': {'cpu_us': 1}, 'dragoman': {'cpu_us': now}, report.BEFORE: {'cpu_us': was}} for now, was in pairs]

    def workload(self, *pairs):
        rounds = self.rounds(*pairs)
        return {'title': 'W', 'rows': rounds[0], 'beside': report.beside(rounds)}

    def test_the_quiet_third_is_compared(self):
        # Something else ran in most turns of this build: medians would say 3 / 1.
        rounds = self.rounds((3.0, 1.0), (1.0, 2.0), (3.0, 1.0), (1.2, 1.2), (3.0, 1.0), (3.0, 1.0))
        self.assertEqual(report.beside(rounds), (1.0, 1.1))
        self.assertIsNone(report.beside([{'direct': {'cpu_us': 1}, 'dragoman': {'cpu_us': 1}}]))

    def test_more_than_three_percent_is_worse(self):
        results = {'workloads': {'good': self.workload((1.02, 1.0)), 'bad': self.workload((1.04, 1.0))}}
        results['workloads']['bad']['title'] = 'slower'
        self.assertEqual(report.worse(results), ['slower'])
        self.assertIn('| slower | 1.00 | 1.04 | 1.040 | 1.00 | 1.04 |', report.beside_table(results))

    def test_without_another_build_there_is_no_table(self):
        self.assertEqual(report.beside_table({'workloads': {'w': {'title': 'W', 'beside': None}}}), '')

    def test_an_older_build_gets_only_keys_that_it_knows(self):
        with tempfile.TemporaryDirectory() as directory:
            older = os.path.join(directory, 'older')
            with open(older, 'w', encoding='utf-8') as file:
                file.write('#!/bin/sh\n! grep -q lame_duck "$3"\n')
            os.chmod(older, 0o755)
            peer = peers.Before(report.BEFORE, directory, dict.fromkeys(('http', 'bolt', 'tcp', 'h2', 'grpc'), 1), None)
            peer.binary = older
            self.assertNotIn('lame_duck', peer.fill('drain: {{deadline: 1s, lame_duck: 0s}}'))
            peer.binary = '/bin/true'
            self.assertIn('lame_duck', peer.fill('drain: {{deadline: 1s, lame_duck: 0s}}'))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin-dir', required=True)
    arguments, rest = parser.parse_known_args()
    BIN_DIR = os.path.abspath(arguments.bin_dir)
    unittest.main(argv=[sys.argv[0], *rest])
