#!/usr/bin/python3
"""Clients of NBD disks that keep working while the servers fail, and record everything they saw.

    nbd-load.py HISTORY --disk NUMBER:NAME ... --node HOST:PORT ... [options]

Several clients read, write (with and without FUA), trim, zero and flush each disk through different nodes, many requests at a time. A
client whose connection breaks, or gets no answer for --patience seconds, goes on through another node; what was under way then counts
as unknown. Payloads name their disk, sector, operation and client, with a checksum, in every 32 bytes. HISTORY is in the format of
sim/recorded_history.hpp, for `sheepsim --check-history`, with times of CLOCK_MONOTONIC in nanoseconds.

It is led through its standard input, one command a line, each answered with one line, "ok ..." or "late ...":

    mark LABEL [NODE...]    what happens from now on; NODE are the numbers of the nodes that it happens to
    await N SECONDS         until every client has N more successful answers
    progress                how many answers there were
    pause SECONDS           no more requests, and none under way
    resume
    power                   write down that all nodes are dead now
    verify NODE SECONDS     read all disks whole through that node
    settle                  forget the time waited so far, so that it does not count as a stall of what comes
    stalls                  one line for each label: label, longest stall of the clients of other nodes, of those of the nodes concerned
    stop

A stall is the time for which a client wanted answers and got none, in milliseconds, connecting included. The exit code is 1 if a server
broke the protocol (an error that no fault explains, another size); what the answers contained is judged by the checker.
"""
import argparse
import errno
import random
import struct
import sys
import threading
import time
import zlib

import nbd

SECTOR = 512
RECORD = struct.Struct('<4sIQQII')  # magic, disk, sector, operation, client, checksum of the fields before
HEAD = struct.Struct('<4sIQQI')
MAGIC = b'SDld'
ZEROS = bytes(SECTOR)
OBJECT = (4 << 20) // SECTOR
# An error may be the consequence of a fault; these never are.
FOREIGN_ERRORS = {errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EOVERFLOW}


def payload(disk, sector, op, client):
    head = HEAD.pack(MAGIC, disk, sector, op, client)
    return (head + zlib.crc32(head).to_bytes(4, 'little')) * (SECTOR // RECORD.size)


def decode(disk, sector, data):
    """The operation whose payload this is, as text; 0 for zeros, ? for anything else."""
    if data == ZEROS:
        return '0'
    magic, found_disk, found_sector, op, client, _ = RECORD.unpack_from(data)
    if magic == MAGIC and (found_disk, found_sector) == (disk, sector) and data == payload(disk, sector, op, client):
        return str(op)
    return '?'


def runs_of(disk, first, data):
    """What a read saw, as the history has it, such as 17x8,0x4."""
    runs, last, length = [], None, 0
    for i in range(len(data) // SECTOR):
        value = decode(disk, first + i, data[i * SECTOR:(i + 1) * SECTOR])
        if value == last:
            length += 1
            continue
        if last is not None:
            runs.append(f'{last}x{length}')
        last, length = value, 1
    runs.append(f'{last}x{length}')
    return ','.join(runs)


class Recorder:
    """The history. Times are taken under the lock, so the lines are in their order."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.out = open(path, 'w', buffering=1 << 16)
        self.last_op = {}

    def disk(self, number, sectors):
        with self.lock:
            self.out.write(f'v {number} {sectors}\n')

    def begin(self, disk, kind, first, count, client):
        with self.lock:
            op = self.last_op.get(disk, 0) + 1
            self.last_op[disk] = op
            self.out.write(f'b {time.monotonic_ns()} {disk} {op} {kind} {first} {count} {client}\n')
            return op

    def end(self, disk, op, outcome):
        with self.lock:
            self.out.write(f'e {time.monotonic_ns()} {disk} {op} {outcome}\n')

    def event(self, text):
        with self.lock:
            self.out.write(text.replace('TIME', str(time.monotonic_ns())) + '\n')
            self.out.flush()


class Stalls:
    def __init__(self):
        self.lock = threading.Lock()
        self.label, self.nodes = 'no fault', set()
        self.longest = {}  # label -> [others, concerned], seconds

    def note(self, node, seconds):
        with self.lock:
            found = self.longest.setdefault(self.label, [0.0, 0.0])
            which = 1 if node in self.nodes else 0
            found[which] = max(found[which], seconds)


class Connection:
    """One NBD connection; every call comes back within the patience."""

    def __init__(self, node, name, patience):
        self.handle = nbd.NBD()
        self.handle.set_export_name(name)
        self.handle.aio_connect_tcp(*node)
        deadline = time.monotonic() + patience
        while not self.handle.aio_is_ready():
            if self.dead():
                raise nbd.Error('the connection was closed', errno.ECONNRESET)
            if time.monotonic() > deadline:
                raise nbd.Error('no greeting', errno.ETIMEDOUT)
            self.handle.poll(50)

    def dead(self):
        return self.handle.aio_is_dead() or self.handle.aio_is_closed()

    def read(self, at, length, patience):
        buffer = nbd.Buffer(length)
        cookie = self.handle.aio_pread(buffer, at)
        deadline = time.monotonic() + patience
        while not self.handle.aio_command_completed(cookie):
            if time.monotonic() > deadline:
                raise nbd.Error('no answer', errno.ETIMEDOUT)
            self.handle.poll(50)
        return bytes(buffer.to_bytearray())


class Client(threading.Thread):
    def __init__(self, load, number, disk, name):
        super().__init__(daemon=True)
        self.load, self.number, self.disk, self.export = load, number, disk, name
        self.rng = random.Random(load.args.seed * 1000003 + number)
        self.node = number % len(load.nodes)
        self.name = f'client{number}'
        self.pending = {}       # cookie -> (op, kind, first sector, buffer)
        self.answers = 0
        self.waiting_since, self.waiting_at = None, self.node  # since when, and through which node it was then
        self.last_answer = 0.0
        self.next_issue = 0.0
        self.connection = None

    # -- what to ask for: windows around the boundaries of objects, so that clients meet, and one busy place in each disk
    def draw_range(self):
        rng, sectors = self.rng, self.load.sectors[self.disk]
        if rng.random() < 0.3:
            start, length = 64, 128
        else:
            objects = sectors // OBJECT
            boundary = rng.randrange(objects) * OBJECT
            start, length = max(0, boundary - 256), 512
        first = start + rng.randrange(length)
        count = rng.choice((1, 3, 8, 8, 8, 8, 16, 24, 64))
        if count >= 8:
            first &= ~7
        return first, min(count, start + length - first, sectors - first)

    def issue(self):
        handle, record = self.connection.handle, self.load.recorder
        draw = self.rng.random()
        if draw < 0.02:
            op = record.begin(self.disk, 'flush', 0, 0, self.name)
            self.pending[handle.aio_flush()] = (op, 'flush', 0, None)
            return
        first, count = self.draw_range()
        at, length = first * SECTOR, count * SECTOR
        if draw < 0.35:
            buffer = nbd.Buffer(length)
            op = record.begin(self.disk, 'read', first, count, self.name)
            self.pending[handle.aio_pread(buffer, at)] = (op, 'read', first, buffer)
        elif draw < 0.38:
            op = record.begin(self.disk, 'trim', first, count, self.name)
            self.pending[handle.aio_trim(length, at)] = (op, 'trim', first, None)
        elif draw < 0.41:
            op = record.begin(self.disk, 'zero', first, count, self.name)
            self.pending[handle.aio_zero(length, at)] = (op, 'zero', first, None)
        else:
            fua = draw < 0.46
            op = record.begin(self.disk, 'fua' if fua else 'write', first, count, self.name)
            buffer = nbd.Buffer.from_bytearray(bytearray(b''.join(payload(self.disk, s, op, self.number) for s in range(first, first + count))))
            self.pending[handle.aio_pwrite(buffer, at, flags=nbd.CMD_FLAG_FUA if fua else 0)] = (op, 'fua' if fua else 'write', first, buffer)

    def answered(self, cookie, error):
        op, kind, first, buffer = self.pending.pop(cookie)
        now = time.monotonic()
        self.last_answer = now
        if error is not None:
            self.load.recorder.end(self.disk, op, f'error {error}')
            self.load.errors[error] = self.load.errors.get(error, 0) + 1
            if error in FOREIGN_ERRORS:
                self.load.fail(f'{self.name}: {kind} answered with {errno.errorcode.get(error, error)}')
            self.next_issue = now + 0.02
            return
        outcome = 'ok'
        if kind == 'read':
            outcome += ' ' + runs_of(self.disk, first, bytes(buffer.to_bytearray()))
        self.load.recorder.end(self.disk, op, outcome)
        if self.waiting_since is not None:
            self.load.stalls.note(self.waiting_at, now - self.waiting_since)
        self.waiting_since, self.waiting_at = now if self.pending else None, self.node
        self.answers += 1

    def collect(self):
        handle = self.connection.handle
        while self.pending:
            try:
                cookie = handle.aio_peek_command_completed()
            except nbd.Error:
                return
            if cookie == 0:
                return
            try:
                handle.aio_command_completed(cookie)
                self.answered(cookie, None)
            except nbd.Error as error:
                # A server that stops cleanly says so. What it does not answer any more is unknown.
                if self.connection.dead() or error.errnum in (errno.ESHUTDOWN, errno.ENOTCONN):
                    raise
                self.answered(cookie, error.errnum or errno.EIO)

    def give_up(self):
        for op, *_ in self.pending.values():
            self.load.recorder.end(self.disk, op, 'unknown')
        self.pending.clear()
        self.connection = None
        self.node = (self.node + self.rng.randrange(1, len(self.load.nodes))) % len(self.load.nodes)
        self.load.connections += 1

    def work(self):
        load = self.load
        self.connection = Connection(load.nodes[self.node], self.export, load.args.patience)
        if self.connection.handle.get_size() != load.sectors[self.disk] * SECTOR:
            load.fail(f'{self.name} is shown a disk of another size')
        self.last_answer = time.monotonic()
        while not load.stopping:
            now = time.monotonic()
            while not load.paused and len(self.pending) < load.args.depth and now >= self.next_issue:
                if not self.pending:
                    self.last_answer = max(self.last_answer, now)
                if self.waiting_since is None:
                    self.waiting_since, self.waiting_at = now, self.node
                self.issue()
                self.next_issue = max(self.next_issue + 1 / load.args.pace, now - 0.1)
            if not self.pending:
                if load.paused:
                    self.waiting_since = None
                    self.next_issue = 0.0
                time.sleep(0.01 if load.paused else max(0.001, min(0.05, self.next_issue - now)))
                if not self.connection.dead():
                    self.connection.handle.poll(0)
            else:
                wait = 100 if len(self.pending) >= load.args.depth else max(1, min(100, int((self.next_issue - now) * 1000)))
                self.connection.handle.poll(wait)
            self.collect()
            if self.connection.dead():
                return
            if self.pending and time.monotonic() - self.last_answer > load.args.patience:
                return

    def run(self):
        while not self.load.stopping:
            if self.waiting_since is None and not self.load.paused:
                self.waiting_since, self.waiting_at = time.monotonic(), self.node
            try:
                self.work()
            except nbd.Error:
                pass
            self.give_up()
            if not self.load.stopping:
                time.sleep(0.02)  # the pace of trying


class Load:
    def __init__(self, args):
        self.args = args
        self.recorder, self.stalls = Recorder(args.history), Stalls()
        self.nodes = [(host, port) for host, port in (text.rsplit(':', 1) for text in args.node)]
        self.disks = {int(number): name for number, name in (text.split(':', 1) for text in args.disk)}
        self.sectors, self.errors, self.failures = {}, {}, []
        self.connections = 0
        self.paused = self.stopping = False
        for number, name in self.disks.items():
            self.sectors[number] = Connection(self.nodes[0], name, args.patience).handle.get_size() // SECTOR
            self.recorder.disk(number, self.sectors[number])
        numbers = list(self.disks)
        self.clients = [Client(self, i, numbers[i % len(numbers)], self.disks[numbers[i % len(numbers)]]) for i in range(args.clients)]

    def fail(self, text):
        print(text, file=sys.stderr, flush=True)
        self.failures.append(text)

    def wait(self, seconds, condition):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def mark(self, label, nodes):
        now = time.monotonic()
        for client in self.clients:  # a stall under way belongs to both
            since = client.waiting_since
            if since is not None:
                self.stalls.note(client.waiting_at, now - since)
        with self.stalls.lock:
            self.stalls.label, self.stalls.nodes = label, set(nodes)
        self.recorder.event(f'# TIME {label} {nodes}')
        return 'ok'

    def await_answers(self, count, seconds):
        before = [client.answers for client in self.clients]
        behind = lambda: [c for c, b in zip(self.clients, before) if c.answers < b + count]
        if self.wait(seconds, lambda: not behind()):
            return 'ok'
        return 'late ' + ', '.join(f'{c.name} on disk {c.disk}, at node {c.node}, {len(c.pending)} wait' for c in behind())

    def pause(self, seconds):
        self.paused = True
        if self.wait(seconds, lambda: not any(c.pending for c in self.clients)):
            return 'ok'
        return 'late ' + ', '.join(c.name for c in self.clients if c.pending)

    def verify(self, node, seconds):
        """All of every disk through one node; each piece is asked for again until it is answered."""
        deadline = time.monotonic() + seconds
        for disk, name in self.disks.items():
            connection, first, who = None, 0, f'verify@{node}'
            while first < self.sectors[disk]:
                count = min(512, self.sectors[disk] - first)
                op = None
                try:
                    connection = connection or Connection(self.nodes[node], name, self.args.patience)
                    op = self.recorder.begin(disk, 'read', first, count, who)
                    data = connection.read(first * SECTOR, count * SECTOR, self.args.patience)
                    self.recorder.end(disk, op, 'ok ' + runs_of(disk, first, data))
                    first += count
                except nbd.Error as error:
                    if op is not None:
                        self.recorder.end(disk, op, 'unknown')
                    connection = None
                    if time.monotonic() > deadline:
                        return f'late disk {name} from sector {first}: {error.string}'
                    time.sleep(0.05)
        return 'ok'

    def command(self, words):
        match words:
            case ['mark', label, *nodes]:
                return self.mark(label.replace('_', ' '), [int(n) for n in nodes])
            case ['await', count, seconds]:
                return self.await_answers(int(count), float(seconds))
            case ['progress']:
                errors = ', '.join(f'{n} x {errno.errorcode.get(e, e)}' for e, n in sorted(self.errors.items())) or 'none'
                return f'ok {sum(c.answers for c in self.clients)} answers, {self.connections} connections lost, errors: {errors}'
            case ['pause', seconds]:
                return self.pause(float(seconds))
            case ['resume']:
                self.paused = False
                return 'ok'
            case ['settle']:
                now = time.monotonic()
                for client in self.clients:
                    if client.waiting_since is not None:
                        client.waiting_since = now
                return 'ok'
            case ['power']:
                self.recorder.event('p TIME')
                return 'ok'
            case ['verify', node, seconds]:
                return self.verify(int(node), float(seconds))
            case ['stalls']:
                return 'ok ' + '|'.join(f'{label};{others * 1000:.0f};{own * 1000:.0f}' for label, (others, own) in self.stalls.longest.items())
            case ['stop']:
                self.stopping = True
                return 'ok'
        return 'late unknown command ' + ' '.join(words)

    def run(self):
        for client in self.clients:
            client.start()
        print('ok ready', flush=True)
        for line in sys.stdin:
            print(self.command(line.split()), flush=True)
            if self.stopping:
                break
        self.stopping = True
        for client in self.clients:
            client.join(10)
        self.recorder.out.flush()
        return 1 if self.failures else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('history')
    parser.add_argument('--disk', action='append', required=True, help='NUMBER:NAME')
    parser.add_argument('--node', action='append', required=True, help='HOST:PORT of its NBD server, in the order of the nodes')
    parser.add_argument('--clients', type=int, default=6)
    parser.add_argument('--depth', type=int, default=6)
    parser.add_argument('--pace', type=float, default=150, help='requests a second, for each client')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--patience', type=float, default=8)
    sys.exit(Load(parser.parse_args()).run())


main()
