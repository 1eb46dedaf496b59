#!/usr/bin/env python3
"""Medians and ratios of scripts/bench.sh's measurements, as a Markdown table and as JSON.

    bench-table.py MEASUREMENTS.tsv [RESULT.json]

One measurement a line: round, row, server, IOPS, MB/s, median and 99th percentile of the completion latency in microseconds.
"""
import json
import os
import platform
import statistics
import sys

ROW_NAMES = {
    'randread': '4 KB random read', 'randwrite': '4 KB random write',
    'seqread': '1 MB sequential read', 'seqwrite': '1 MB sequential write',
}
# Which server is held against which, in this order where both were measured.
RATIOS = [('sheep1', 'qemu-nbd'), ('sheep1', 'nbdkit'), ('sheep3', 'qemu-nbd'), ('sheep3', 'nbdkit')]


def cpu_model():
    for line in open('/proc/cpuinfo'):
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.machine()


def main():
    rows, servers, cells = [], [], {}
    for line in open(sys.argv[1]):
        _, row, server, *numbers = line.rstrip('\n').split('\t')
        if row not in rows:
            rows.append(row)
        if server not in servers:
            servers.append(server)
        cells.setdefault((row, server), []).append([float(n) for n in numbers])

    def value(row, server):
        """What the row is about: MB/s for sequential rows, IOPS for the others."""
        return statistics.median(m[1 if row.startswith('seq') else 0] for m in cells[row, server])

    ratios = [(a, b) for a, b in RATIOS if a in servers and b in servers]
    sockets, size, seconds = (os.environ.get('BENCH_' + k, '?') for k in ('SOCKETS', 'SIZE', 'SECONDS'))
    rounds = max(len(m) for m in cells.values())
    machine = f'{os.cpu_count()} x {cpu_model()}, Linux {platform.release()}'
    print(f'\n{machine}; {sockets} sockets; {size} MB filled; medians of {rounds} x {seconds} s\n')

    header = ['', 'depth'] + servers + [f'{a} / {b}' for a, b in ratios]
    table = [header]
    for row in rows:
        kind, depth = row.split('-')
        unit = 'MB/s' if row.startswith('seq') else 'IOPS'
        line = [f'{ROW_NAMES[kind]} ({unit})', depth] + [f'{value(row, s):,.0f}' for s in servers]
        line += [f'{value(row, a) / value(row, b):.2f}' for a, b in ratios]
        table.append(line)
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]

    def show(line):
        print('| ' + ' | '.join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))) + ' |')

    show(table[0])
    print('|' + '|'.join('-' * (w + 2) if i == 0 else '-' * (w + 1) + ':' for i, w in enumerate(widths)) + '|')
    for line in table[1:]:
        show(line)

    print('\nlatency, median / 99th percentile (us):')
    for row in rows:
        parts = [f'{s} {statistics.median(m[2] for m in cells[row, s]):.0f} / {statistics.median(m[3] for m in cells[row, s]):.0f}'
                 for s in servers]
        print(f'  {row:<13} ' + '   '.join(parts))

    memory = {}
    for line in os.environ.get('BENCH_MEMORY', '').splitlines():
        server, idle, peak = line.split()
        memory[server] = {'idle_kb': int(idle), 'peak_kb': int(peak)}
    if memory:
        print('\nresident memory of one sheep (the largest):')
        for server, m in sorted(memory.items()):
            print(f'  {server}: idle {m["idle_kb"] / 1024:.1f} MB, most under this load {m["peak_kb"] / 1024:.1f} MB')

    if len(sys.argv) > 2 and sys.argv[2]:
        result = {
            'machine': machine, 'sockets': sockets, 'size_mb': int(size), 'seconds': float(seconds), 'rounds': rounds, 'memory': memory,
            'rows': [{'row': row, 'server': s, 'iops': statistics.median(m[0] for m in cells[row, s]),
                      'mb_per_s': statistics.median(m[1] for m in cells[row, s]),
                      'latency_us': {'median': statistics.median(m[2] for m in cells[row, s]),
                                     'p99': statistics.median(m[3] for m in cells[row, s])},
                      'measured': cells[row, s]} for row in rows for s in servers],
            'ratios': [{'row': row, 'of': a, 'to': b, 'ratio': value(row, a) / value(row, b)} for row in rows for a, b in ratios],
        }
        with open(sys.argv[2], 'w') as out:
            json.dump(result, out, indent=1)


main()
