"""What the kernel says about a process and its descendants, and about the machine."""

import glob
import os
import re
import shutil
import signal
import subprocess

READS = ('read', 'readv', 'recvfrom', 'recvmsg')
WRITES = ('write', 'writev', 'sendto', 'sendmsg')


def _read(path):
    try:
        with open(path, encoding='ascii', errors='replace') as file:
            return file.read()
    except OSError:
        return ''  # the process or thread ended meanwhile


def tree(pid):
    """pid and all its descendants."""
    pids = [pid]
    for parent in pids:
        for children in glob.glob('/proc/%d/task/*/children' % parent):
            pids += [int(child) for child in _read(children).split()]
    return pids


def cpu_ns(pid):
    """(CPU time, time ready to run while something else had the CPU) of the tree, by the scheduler (ns)."""
    ran = waited = 0
    for member in tree(pid):
        for path in glob.glob('/proc/%d/task/*/schedstat' % member):
            words = _read(path).split()
            if words:
                ran += int(words[0])
                waited += int(words[1])
    return ran, waited


def io_calls(pid):
    """(read calls, write calls) of the tree. The kernel counts read() and write(), not recv() and send()."""
    reads = writes = 0
    for member in tree(pid):
        fields = dict(line.split(': ') for line in _read('/proc/%d/io' % member).splitlines())
        reads += int(fields.get('syscr', 0))
        writes += int(fields.get('syscw', 0))
    return reads, writes


def anonymous_bytes(pid):
    """User memory of the tree: its resident anonymous pages (a forked page is counted in each process)."""
    total = 0
    for member in tree(pid):
        found = re.search(r'RssAnon:\s+(\d+) kB', _read('/proc/%d/status' % member))
        total += int(found.group(1)) * 1024 if found else 0
    return total


def proportional_bytes(pid):
    """Resident memory of the tree, shared pages divided by who shares them (program text included)."""
    total = 0
    for member in tree(pid):
        found = re.search(r'^Pss:\s+(\d+) kB', _read('/proc/%d/smaps_rollup' % member), re.M)
        total += int(found.group(1)) * 1024 if found else 0
    return total


class SyscallCounter:
    """Counts the system calls of a tree with perf: `with SyscallCounter(pid) as c: ...`, then c.counts.

    counts is {'all': n, 'reads': n, 'writes': n}, or None where perf or its tracepoints can't be used.
    """

    def __init__(self, pid):
        self.pid = pid
        self.counts = None

    @staticmethod
    def available():
        if shutil.which('perf') is None:
            return False
        probe = subprocess.run(['perf', 'stat', '-e', 'raw_syscalls:sys_enter', 'true'], capture_output=True)
        return probe.returncode == 0

    def __enter__(self):
        events = ['raw_syscalls:sys_enter'] + ['syscalls:sys_enter_' + name for name in READS + WRITES]
        pids = ','.join(map(str, tree(self.pid)))
        self.process = subprocess.Popen(
            ['perf', 'stat', '-x', ';', '-e', ','.join(events), '-p', pids],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            text = self.process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return
        values = {}
        for line in text.splitlines():
            fields = line.split(';')
            if len(fields) > 2 and fields[0].isdigit():
                values[fields[2].rsplit('sys_enter', 1)[-1].lstrip('_')] = int(fields[0])
        if '' in values:
            self.counts = {
                'all': values[''],
                'reads': sum(values.get(name, 0) for name in READS),
                'writes': sum(values.get(name, 0) for name in WRITES),
            }


def machine():
    model = re.search(r'model name\s*: (.*)', _read('/proc/cpuinfo'))
    memory = re.search(r'MemTotal:\s+(\d+) kB', _read('/proc/meminfo'))
    return {
        'cpu': model.group(1).strip() if model else 'unknown',
        'cpus_allowed': len(os.sched_getaffinity(0)),
        'memory_gib': round(int(memory.group(1)) / 2**20, 1) if memory else None,
        'kernel': '%s %s' % (os.uname().sysname, os.uname().release),
        'congestion_control': _read('/proc/sys/net/ipv4/tcp_congestion_control').strip(),
        'load_average': os.getloadavg()[0],
    }
