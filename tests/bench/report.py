"""Turns the results of run.py into RESULTS.md, with what each figure is held against."""

KILO = 1024.0
BEFORE = 'before'  # the name of the other build of --beside
WORSE_MAX = 0.03


def quiet(values):
    """The mean of the least third. What else a machine does only ever adds to a figure of CPU time."""
    values = sorted(values)
    least = values[: max(1, len(values) // 3)]
    return sum(least) / len(least)


def beside(rounds):
    """CPU us a request in quiet rounds: (the other build, this one). None without another one."""
    both = [turn for turn in rounds if {'dragoman', BEFORE} <= turn.keys()]
    return tuple(quiet(turn[name]['cpu_us'] for turn in both) for name in (BEFORE, 'dragoman')) if both else None


def worse(results):
    """The workloads whose CPU a request grew by more than WORSE_MAX."""
    measured = [(w['title'], w['beside']) for w in results['workloads'].values() if w.get('beside')]
    return [title for title, (before, now) in measured if now / before > 1 + WORSE_MAX]


def beside_table(results):
    body = []
    for workload in results['workloads'].values():
        if not workload.get('beside'):
            continue
        before, now = workload['beside']
        medians = [workload['rows'][name]['cpu_us'] for name in (BEFORE, 'dragoman')]
        body.append([workload['title'], number(before), number(now), number(now / before, '%.3f'), *map(number, medians)])
    head = ['', 'before, CPU us/request', 'now', 'now / before', 'median before', 'median now']
    return table(head, body) if body else ''


def ratio(value, base):
    return '%.2f' % (value / base) if value is not None and base else '-'


def number(value, form='%.2f'):
    return form % value if value is not None else '-'


def table(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join(lines) + '\n'


def workload_tables(results):
    out = []
    for workload in results['workloads'].values():
        rows = workload['rows']
        haproxy = rows.get('haproxy', {}).get('cpu_us')
        nginx = rows.get('nginx', {}).get('cpu_us')
        body = []
        for name, row in rows.items():
            proxied = name != 'direct'
            body.append(
                [
                    name,
                    number(row['cpu_us']),
                    '%.2f - %.2f' % (row['cpu_us_min'], row['cpu_us_max']),
                    ratio(row['cpu_us'], haproxy) if proxied else '-',
                    ratio(row['cpu_us'], nginx) if proxied else '-',
                    number(row['rps'], '%.0f'),
                    number(row['p50_us'], '%.0f'),
                    number(row['p99_us'], '%.0f'),
                ]
            )
        note = '' if workload['steady'] else ' **Not steady: read nothing from it.**'
        out.append(
            '### %s\n\n%d of %d rounds used.%s\n\n'
            % (workload['title'], workload['rounds_used'], len(workload['rounds']), note)
            + table(
                ['', 'CPU us/request', 'min - max', '/ HAProxy', '/ nginx', 'requests/s', 'p50 us', 'p99 us'],
                body,
            )
        )
    return out


def rate_tables(results):
    out = []
    for workload in results['rates'].values():
        body = [
            [
                name,
                number(row['p50_us'], '%.0f'),
                number(row['p99_us'], '%.0f'),
                number(row['added_p50_us'], '%.0f'),
                number(row['added_p99_us'], '%.0f'),
                number(row['cpu_us'], '%.1f'),
            ]
            for name, row in workload['rows'].items()
        ]
        note = '' if workload['steady'] else ' **Not steady: read nothing from it.**'
        out.append(
            '### %s, open loop\n\n%d of %d rounds used.%s\n\n'
            % (workload['title'], workload['rounds_used'], len(workload['rounds']), note)
            + table(['', 'p50 us', 'p99 us', 'added p50', 'added p99', 'CPU us/request'], body)
        )
    return out


def syscall_table(results):
    body = []
    for workload in results['syscalls'].values():
        for name, row in workload['rows'].items():
            body.append(
                [workload['title'], name, number(row['reads']), number(row['writes']), number(row['all'])]
            )
    return table(['', '', 'reads', 'writes', 'all'], body)


def memory_table(results):
    def size(value, unit):
        return number(None if value is None else value / unit)

    names = list(results['memory']) or list(results['start_ms'])
    body = []
    for name in names:
        row = results['memory'].get(name, {})
        body.append(
            [
                name,
                size(row.get('start_anonymous'), KILO**2),
                size(row.get('start_proportional'), KILO**2),
                size(row.get('idle_http'), KILO),
                size(row.get('idle_tcp'), KILO),
                size(row.get('idle_bolt'), KILO),
                size(row.get('idle_h2'), KILO),
                number(results['start_ms'].get(name), '%.1f'),
            ]
        )
    return table(
        [
            '',
            'user memory at start, MB',
            'with shared pages, MB',
            'KB/idle HTTP',
            'KB/idle TCP',
            'KB/idle Bolt',
            'KB/idle HTTP/2',
            'exec to first answer, ms',
        ],
        body,
    )


def descriptor_table(results):
    body = []
    for key, row in results['descriptor'].items():
        if not isinstance(row, dict):
            continue
        wanted, what = key.split('_')
        body.append(
            [
                what + (', every header wanted' if wanted == 'all' else ', service and method wanted'),
                number(row['written_ns'], '%.1f'),
                number(row['described_ns'], '%.1f'),
                number(row['ratio']),
            ]
        )
    return table(['Bolt v1', 'C++, ns', 'descriptor, ns', 'ratio'], body)


def lookup_table(found):
    body = [[what, *(number(ns, '%.0f') for ns in row)] for what, row in found['lookup_ns'].items()]
    return table(['ns to find a route among', '10', '1,000', '10,000'], body)


def reload_table(found):
    body = [
        [
            '{:,} {}'.format(int(size), kind),
            number(row['reload_ms'], '%.0f'),
            number(row['piece_ms'], '%.2f'),
            number(row['worst_request_ms'], '%.1f'),
            number(row.get('worst_ready_ms'), '%.1f'),
            number(row.get('worst_ready_scraped_ms'), '%.1f'),
        ]
        for kind, rows in found['reload'].items()
        for size, row in rows.items()
    ]
    slowest = ['slowest request meanwhile, ms', 'slowest /ready meanwhile, ms', 'slowest /ready between scrapes, ms']
    return table(['', 'reload, ms', 'longest piece on a loop, CPU ms'] + slowest, body)


def targets(results):
    """(what, measured, must, goal) of every target this run can judge."""
    found = []

    def cpu(workload, name):
        return results['workloads'].get(workload, {}).get('rows', {}).get(name, {}).get('cpu_us')

    def compare(title, mine, base, must, goal):
        if mine is not None and base:
            found.append((title, mine / base, must, goal))

    for workload in ('http_64', 'http_256'):
        mine = cpu(workload, 'dragoman')
        compare(workload + ': CPU / HAProxy', mine, cpu(workload, 'haproxy'), 1.0, 0.90)
        compare(workload + ': CPU / nginx', mine, cpu(workload, 'nginx'), 1.0, 0.85)
    for workload, must, goal in (('h2_16x32', 1.0, 0.85), ('h2_64x1', 1.05, 0.95), ('grpc_16x32', 1.0, 0.85)):
        mine = cpu(workload, 'dragoman')
        compare(workload + ': CPU / nghttpx', mine, cpu(workload, 'nghttpx'), must, goal)
        compare(workload + ': CPU / HAProxy', mine, cpu(workload, 'haproxy'), 1.0, 0.77 if must == 1.0 else 1.0)
    for workload, must, goal in (('tcp_64x1', 1.05, 0.95), ('tcp_64x16', 0.8, 0.6)):
        others = [value for value in (cpu(workload, 'haproxy'), cpu(workload, 'nginx')) if value]
        compare(
            workload + ': CPU / better of HAProxy, nginx',
            cpu(workload, 'dragoman'),
            min(others, default=None),
            must,
            goal,
        )
    compare(
        'bolt_64x1: CPU / HAProxy\'s tcp_64x1',
        cpu('bolt_64x1', 'dragoman'),
        cpu('tcp_64x1', 'haproxy'),
        None,
        0.7,
    )
    for workload in ('bolt_64x16', 'bolt_8x64'):
        compare(workload + ': CPU us', cpu(workload, 'dragoman'), 1.0, None, 2.0)
    for name, workload in results['rates'].items():
        rows = workload['rows']
        best = min(
            (row['added_p99_us'] for peer, row in rows.items() if peer not in ('direct', 'dragoman')),
            default=None,
        )
        haproxy = rows.get('haproxy', {}).get('added_p99_us')
        if 'dragoman' in rows and haproxy and haproxy > 0:
            found.append(
                (
                    name + ': added p99 / HAProxy\'s',
                    rows['dragoman']['added_p99_us'] / haproxy,
                    1.5,
                    best * 1.1 / haproxy,
                )
            )
    calls = {name: workload['rows'].get('dragoman') for name, workload in results['syscalls'].items()}
    for workload, key, must, goal in (
        ('http_64', 'reads', 2, 2),
        ('http_64', 'writes', 2, 2),
        ('bolt_64x16', 'reads', 0.2, 0.1),
        ('bolt_64x16', 'writes', 0.2, 0.1),
    ):
        if calls.get(workload):
            # Reads of wake-ups, and those that only meet the end of a connection, are in the count.
            found.append(('%s: %s/request' % (workload, key), calls[workload][key], must * 1.02, goal * 1.02))
    memory = results['memory'].get('dragoman', {})
    for key, title in (('idle_http', 'KB/idle HTTP connection'), ('idle_bolt', 'KB/idle Bolt connection')):
        if memory.get(key) is not None:
            found.append((title, memory[key] / KILO, 2, 1))
    if memory:
        found.append(('user memory at start, MB', memory['start_anonymous'] / KILO**2, 16, 10))
    if results['descriptor']:
        most = results['descriptor']['target']
        found.append(('bolt v1: a descriptor / the codec in C++', results['descriptor']['ratio'], most, most))
    scaled = results.get('scale') or {'lookup_ns': {}, 'reload': {}}
    if scaled['lookup_ns']:
        found.append(('ns to find a route among 10,000, the slowest kind', max(row[-1] for row in scaled['lookup_ns'].values()), None, 1000))
    for kind, rows in scaled['reload'].items():
        found.append(('%s: longest piece of a reload on a loop, CPU ms' % kind, max(row['piece_ms'] for row in rows.values()), 2, 1))
    if 'dragoman' in results['start_ms']:
        found.append(('exec to first answer, ms', results['start_ms']['dragoman'], 20, 10))
    return found


def verdict(measured, must, goal):
    if goal is not None and measured <= goal:
        return 'goal'
    if must is not None and measured <= must:
        return 'must'
    return '**missed**' if must is not None else 'goal missed'


def markdown(results):
    machine = results['machine']
    out = ['# Benchmark results\n\nWritten by `run.py`; README.md in this folder tells how it measures.\n']
    out.append(
        table(
            ['', ''],
            [
                ['date', results['date']],
                ['commit', results['commit']],
                ['command', '`%s`' % results['command']],
                ['CPU', '%s, %d allowed' % (machine['cpu'], machine['cpus_allowed'])],
                ['memory', '%s GiB' % machine['memory_gib']],
                ['kernel', machine['kernel']],
                ['TCP congestion control', machine['congestion_control']],
                ['load average at the start', '%.2f' % machine['load_average']],
                ['rounds', '%d of %g s' % (results['rounds'], results['seconds'])],
                ['HTTP load', results['http_load']],
                *[[name, version] for name, version in results['peers'].items()],
            ],
        )
    )
    if results['warnings']:
        out.append(
            '## Warnings\n\n'
            + ''.join('- **%s**\n' % ' '.join(warning.split()) for warning in results['warnings'])
        )
    compared = beside_table(results)
    if compared:
        over = worse(results)
        out.append(
            '## Beside another build\n\nBoth take turns in every round. Judged are the quietest third of the rounds of each: what else the '
            'machine does only ever adds. More than %d %% worse: %s.\n\n'
            % (WORSE_MAX * 100, ', '.join(over) or 'none')
            + compared
        )
    judged = targets(results)
    if judged:
        out.append(
            '## Targets\n\n'
            + table(
                ['', 'measured', 'must, at most', 'goal, at most', 'reached'],
                [
                    [title, number(measured), number(must), number(goal), verdict(measured, must, goal)]
                    for title, measured, must, goal in judged
                ],
            )
        )
    if results['workloads']:
        out.append(
            '## Cost at saturation\n\nOne worker on one CPU; load and backend on the other. CPU is the '
            'proxy\'s own (in `direct`: the backend\'s). 1 KB bodies, keep-alive, access log off. HAProxy and '
            'nginx relay Bolt as plain TCP.\n'
        )
        out += workload_tables(results)
    if results['rates']:
        out.append(
            '## Latency at a fixed rate\n\nOpen loop: latency counts from when a call was due. "Added" is '
            'over `direct` in the same round.\n'
        )
        out += rate_tables(results)
    if results['syscalls']:
        out.append('## System calls per request\n\n' + syscall_table(results))
    if results['memory'] or results['start_ms']:
        out.append(
            '## Memory and start\n\n%d idle connections, each after one request. An idle TCP connection has '
            'its upstream connection with it.\n\n' % results['idle_connections'] + memory_table(results)
        )
    if results['descriptor']:
        out.append(
            '## A descriptor beside a codec in C++\n\nA frame read, judged, viewed and given another id, '
            'through the functions of the codec alone.\n\n' + descriptor_table(results)
        )
    if results.get('scale'):
        out.append(
            '## Many routes, clusters and endpoints\n\nA reload changes half of the routes, a tenth of the clusters (half as many as '
            'routes) and the weights of the others, or one of the endpoints. It is made beside the loops and put in place in pieces. '
            'The slowest request also tells how long this machine let the client wait.\n\n'
            + lookup_table(results['scale'])
            + '\n'
            + reload_table(results['scale'])
        )
    if results['callgrind']:
        out.append(
            '## Instructions per request (callgrind)\n\n'
            + table(
                ['', 'instructions'],
                [[name, number(count, '%.0f')] for name, count in results['callgrind'].items()],
            )
        )
    return '\n'.join(out)
