#!/usr/bin/python3
"""Writes blocks that describe themselves to an NBD export, remembers what was promised, and checks that the promises were kept.

    nbd-oracle.py run HISTORY --uri URI [--uri URI ...]    write and read at random until told to stop, then flush
    nbd-oracle.py verify HISTORY --uri URI                 read everything and compare
    nbd-oracle.py verify HISTORY --uri URI --after-power-loss

`run` keeps many requests in flight. If its connection breaks it goes on with the next URI; a write without an answer counts as
"may have happened". It ends when the file HISTORY.stop appears (or after --seconds), and keeps HISTORY.progress up to date: one line
with the number of answered requests, of completed flushes and of connections. An error in an answer, a wrong byte, or --patience
seconds without any answer is a failure.

What is promised, per sector of 512 bytes: a read returns the last acknowledged write, or one that may have happened since. After
the loss of power of all nodes: what was acknowledged before the last completed flush began, or anything written later. Once read, a
value stays: every check narrows what the next one accepts. A sector that mixes two writes is always wrong.
"""
import argparse
import errno
import os
import pickle
import random
import struct
import sys
import time
import zlib

import nbd

SECTOR = 512
CHUNK = 64 * 1024  # requests in flight never share one of these
RECORD = struct.Struct('<8sQQQ')
MAGIC = b'SDSECTOR'


def sector_bytes(volume, sector, seq):
    check = zlib.crc32(struct.pack('<QQQ', volume, sector, seq)) << 32 | volume & 0xffffffff
    return RECORD.pack(MAGIC, sector, seq, check) * (SECTOR // RECORD.size)


def decode(volume, sector, data):
    """The number of the write that these bytes are from; 0 for zeros; None for anything else."""
    if data == bytes(SECTOR):
        return 0
    _, _, seq, _ = RECORD.unpack_from(data)
    return seq if data == sector_bytes(volume, sector, seq) else None


class History:
    """Writes have numbers from 1 up; those that zero sectors are kept as negative numbers. 0 is a sector never written."""

    def __init__(self, size, seed):
        self.size, self.seed = size, seed
        self.volume = random.Random(seed).getrandbits(32)
        self.last_seq = 0
        self.acked = {}      # sector -> last acknowledged (or observed) write
        self.maybe = {}      # sector -> later writes without an answer
        self.flushed = {}    # sector -> last write that a completed flush covers
        self.unflushed = {}  # sector -> writes issued since, in order

    def issue(self, seq, sectors):
        for s in sectors:
            self.unflushed.setdefault(s, []).append(seq)

    def acknowledge(self, seq, sectors):
        for s in sectors:
            self.acked[s] = seq
            self.maybe.pop(s, None)

    def lose(self, seq, sectors):
        for s in sectors:
            self.maybe.setdefault(s, []).append(seq)

    def flush_begins(self):
        return dict((s, self.acked.get(s, 0)) for s in self.unflushed)

    def flush_ends(self, covered):
        for s, seq in covered.items():
            self.flushed[s] = seq
            later = self.unflushed.get(s, [])
            if seq in later:
                later = later[later.index(seq) + 1:]
            if later:
                self.unflushed[s] = later
            else:
                self.unflushed.pop(s, None)

    def allowed(self, sector, power_loss):
        if power_loss:
            return [self.flushed.get(sector, 0)] + self.unflushed.get(sector, [])
        return [self.acked.get(sector, 0)] + self.maybe.get(sector, [])

    def observe(self, sector, data, power_loss=False):
        """None if the sector may hold this, else what is wrong. What was seen is what must be seen from now on."""
        allowed = self.allowed(sector, power_loss)
        seen = decode(self.volume, sector, data)
        if seen is None:
            first = data[:RECORD.size]
            mixed = sorted({RECORD.unpack_from(data, i)[2] for i in range(0, SECTOR, RECORD.size) if data[i:i + 8] == MAGIC})
            return f'sector {sector}: not the bytes of one write ({first.hex()}...; pieces of writes {mixed}); expected {allowed}'
        matching = [a for a in allowed if (a if a > 0 else 0) == seen]
        if not matching:
            return f'sector {sector}: holds write {seen}, expected one of {allowed} (last flushed {self.flushed.get(sector, 0)})'
        if len(allowed) > 1 or power_loss:
            self.acked[sector] = matching[-1]
            self.maybe.pop(sector, None)
            if power_loss:
                # It may still be volatile on one member that was asked; only the next flush makes it certain.
                self.unflushed[sector] = [matching[-1]]
        return None


class Connection:
    def __init__(self, uris, patience):
        self.uris, self.patience, self.at, self.count = uris, patience, 0, 0
        self.handle = None
        self.connect()

    def connect(self):
        deadline = time.monotonic() + self.patience
        while True:
            self.handle = nbd.NBD()
            try:
                self.handle.connect_uri(self.uris[self.at % len(self.uris)])
                self.count += 1
                return
            except nbd.Error as error:
                self.at += 1
                if time.monotonic() > deadline:
                    raise SystemExit(f'no server to connect to within {self.patience} s: {error}')
                time.sleep(0.05)  # the pace of trying, not a wait for anything

    def next(self):
        self.at += 1
        self.connect()


class Runner:
    def __init__(self, args, history):
        self.args, self.history = args, history
        self.rng = random.Random(history.seed * 1000003 + history.last_seq)
        self.connection = Connection(args.uri, args.patience)
        self.pending = {}  # cookie -> (kind, sequence number, sectors, buffer or covered)
        self.busy = set()  # chunks with a request in flight
        self.answers = self.flushes = 0
        self.flushing = self.lost = False
        self.errors = []

    def issue_one(self):
        h, history = self.connection.handle, self.history
        if not self.flushing and self.rng.random() < self.args.flush_ratio:
            return self.issue_flush()
        chunk = self.rng.randrange(history.size // CHUNK)
        if chunk in self.busy:
            return None
        first = self.rng.randrange(CHUNK // SECTOR)
        if self.rng.random() < 0.5:
            first &= ~7  # half of the requests as file systems make them: whole blocks of 4 KB
            count = self.rng.randrange(1, (CHUNK // SECTOR - first) // 8 + 1) * 8
        else:
            count = self.rng.randrange(1, min(32, CHUNK // SECTOR - first) + 1)
        start = chunk * CHUNK // SECTOR + first
        sectors = range(start, start + count)
        draw = self.rng.random()
        if draw < 0.25:
            buffer = nbd.Buffer(count * SECTOR)
            cookie = h.aio_pread(buffer, start * SECTOR)
            self.pending[cookie] = ('read', 0, sectors, buffer)
        else:
            history.last_seq += 1
            seq = history.last_seq
            if draw < 0.35:
                seq = -seq
                if self.rng.random() < 0.5:
                    cookie = h.aio_zero(count * SECTOR, start * SECTOR)
                else:
                    cookie = h.aio_trim(count * SECTOR, start * SECTOR)
                self.pending[cookie] = ('write', seq, sectors, None)
            else:
                buffer = nbd.Buffer.from_bytearray(bytearray(b''.join(sector_bytes(history.volume, s, seq) for s in sectors)))
                cookie = h.aio_pwrite(buffer, start * SECTOR)
                self.pending[cookie] = ('write', seq, sectors, buffer)
            history.issue(seq, sectors)
        self.busy.add(chunk)
        return cookie

    def issue_flush(self):
        covered = self.history.flush_begins()
        cookie = self.connection.handle.aio_flush()
        self.pending[cookie] = ('flush', 0, range(0), covered)
        self.flushing = True
        return cookie

    def finish(self, cookie, lost, error=None):
        kind, seq, sectors, extra = self.pending.pop(cookie)
        if kind == 'flush':
            self.flushing = False
        else:
            self.busy.discard(sectors[0] * SECTOR // CHUNK)
        if lost:
            if kind == 'write':
                self.history.lose(seq, sectors)
            return
        if error:
            self.errors.append(f'{kind} of sectors {list(sectors)[:1]}+{len(sectors)}: {error}')
            if kind == 'write':
                self.history.lose(seq, sectors)
            return
        self.answers += 1
        if kind == 'write':
            self.history.acknowledge(seq, sectors)
        elif kind == 'flush':
            self.history.flush_ends(extra)
            self.flushes += 1
        else:
            data = bytes(extra.to_bytearray())
            for i, sector in enumerate(sectors):
                wrong = self.history.observe(sector, data[i * SECTOR:(i + 1) * SECTOR])
                if wrong:
                    self.errors.append('read: ' + wrong)

    def collect(self):
        """Takes what was answered. False if the connection is gone."""
        h = self.connection.handle
        for cookie in list(self.pending):
            try:
                if h.aio_command_completed(cookie):
                    self.finish(cookie, lost=False)
            except nbd.Error as error:
                # A server that stops cleanly says so; one that was killed says nothing.
                if h.aio_is_dead() or h.aio_is_closed() or error.errnum in (errno.ESHUTDOWN, errno.ENOTCONN):
                    return False
                self.finish(cookie, lost=False, error=error.string)
        return not (h.aio_is_dead() or h.aio_is_closed())

    def reconnect(self):
        for cookie in list(self.pending):
            self.finish(cookie, lost=True)
        if self.args.until_lost:
            self.lost = True
        elif len(self.args.uri) == 1:
            self.errors.append('the connection was lost, and there is no other server to go to')
        else:
            self.connection.next()

    def progress(self):
        temporary = self.args.history + '.progress.new'
        with open(temporary, 'w') as out:
            print(self.answers, self.flushes, self.connection.count, file=out)
        os.replace(temporary, self.args.history + '.progress')

    def run(self):
        args = self.args
        end = time.monotonic() + args.seconds if args.seconds else None
        last_answer, last_count, next_progress, stopping, final = time.monotonic(), 0, 0.0, False, None
        while not self.errors and not self.lost:
            now = time.monotonic()
            stopping = stopping or (end is not None and now > end) or os.path.exists(args.history + '.stop')
            try:
                while not stopping and len(self.pending) < args.depth:
                    self.issue_one()
                if stopping and not self.pending:
                    if final is not None and self.flushes > final:
                        break
                    if not args.no_final_flush:
                        final = self.flushes
                        self.issue_flush()
                    else:
                        break
                self.connection.handle.poll(100)
                alive = self.collect()
            except nbd.Error:
                alive = self.collect()
                if alive and self.connection.handle.aio_is_ready():
                    raise
                alive = False
            if not alive:
                self.reconnect()
            if self.answers != last_count:
                last_count, last_answer = self.answers, now
            elif now - last_answer > args.patience:
                self.errors.append(f'no answer for {args.patience} s; {len(self.pending)} requests wait')
            if now > next_progress:
                self.progress()
                next_progress = now + 0.1
        if args.until_lost and not self.lost and not self.errors:
            self.errors.append('the connection was to be lost, and was not')
        for cookie in list(self.pending):  # only after an error
            self.finish(cookie, lost=True)
        self.progress()


def verify(args, history):
    h = Connection(args.uri, args.patience).handle
    errors, step = [], 1 << 20
    for offset in range(0, history.size, step):
        data = bytes(h.pread(min(step, history.size - offset), offset))
        for i in range(0, len(data), SECTOR):
            wrong = history.observe((offset + i) // SECTOR, data[i:i + SECTOR], args.after_power_loss)
            if wrong:
                errors.append(wrong)
        if len(errors) > 20:
            break
    return errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('mode', choices=['run', 'verify'])
    parser.add_argument('history')
    parser.add_argument('--uri', action='append', required=True)
    parser.add_argument('--size', type=int, default=64 << 20, help='bytes of the export to use')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=0)
    parser.add_argument('--depth', type=int, default=16)
    parser.add_argument('--flush-ratio', type=float, default=0.01)
    parser.add_argument('--no-final-flush', action='store_true')
    parser.add_argument('--until-lost', action='store_true', help='end when the connection breaks, which must happen')
    parser.add_argument('--patience', type=float, default=60)
    parser.add_argument('--after-power-loss', action='store_true')
    args = parser.parse_args()

    if os.path.exists(args.history):
        with open(args.history, 'rb') as f:
            history = pickle.load(f)
    else:
        history = History(args.size, args.seed)
    if args.mode == 'run':
        runner = Runner(args, history)
        runner.run()
        errors = runner.errors
        print(f'{runner.answers} requests answered, {runner.flushes} flushes, {runner.connection.count} connection(s), '
              f'{len(history.maybe)} sectors with a write that was not answered')
    else:
        errors = verify(args, history)
        print(f'{history.size // SECTOR} sectors read, {len(history.acked)} of them written')
    with open(args.history + '.new', 'wb') as f:
        pickle.dump(history, f)
    os.replace(args.history + '.new', args.history)
    for error in errors[:20]:
        print('wrong: ' + error)
    return 1 if errors else 0


sys.exit(main())
