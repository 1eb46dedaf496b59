#!/usr/bin/python3
"""Checks what an NBD server says and does, on a disk of at least 64 MB whose contents may be destroyed.

    nbd-check.py HOST PORT EXPORT [SECOND_PORT]

Speaks through libnbd where a well-behaved client would do, and with bytes of its own where not. SECOND_PORT is another server of the
same disk. Prints one line per check and a last line "N passed, M failed".
"""
import errno
import os
import random
import socket
import struct
import sys

import nbd

HOST, PORT, EXPORT = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SECOND = int(sys.argv[4]) if len(sys.argv) > 4 else None
KB, MB = 1024, 1024 * 1024
passed = failed = 0


def check(what, condition, detail=''):
    global passed, failed
    if condition:
        passed += 1
        print('ok    ' + what)
    else:
        failed += 1
        print(f'FAIL  {what}  {detail}')


def same(what, got, expected):
    check(what, got == expected, f'got {got!r:.200}, expected {expected!r:.200}')


def connected(port=PORT, export=EXPORT, prepare=None):
    h = nbd.NBD()
    h.set_export_name(export)
    h.add_meta_context('base:allocation')
    h.set_strict_mode(0)  # the server is to refuse, not the library
    if prepare:
        prepare(h)
    h.connect_tcp(HOST, str(port))
    return h


def refused(what, expected, call):
    try:
        call()
        check(what, False, 'it was accepted')
    except nbd.Error as error:
        check(what, error.errnum in expected, f'got {error}')


def pattern(size, salt):
    return random.Random(salt).randbytes(size)


def zeros_at(h, offset, size):
    return bytes(h.pread(size, offset)) == bytes(size)


def extents(h, size, offset, flags=0):
    """[(length, flags of base:allocation)], neighbours of the same kind merged."""
    out = []

    def on_extents(context, at, entries, _error):
        if context == 'base:allocation':
            for length, kind in zip(entries[::2], entries[1::2]):
                if out and out[-1][1] == kind:
                    out[-1] = (out[-1][0] + length, kind)
                else:
                    out.append((length, kind))

    h.block_status(size, offset, on_extents, flags=flags)
    return out


def status_map(h, offset, size):
    """[(offset, length, flags)] of the whole range, which may take several requests."""
    out, end = [], offset + size
    while offset < end:
        found = extents(h, end - offset, offset)
        if not found:
            break
        for length, kind in found:
            length = min(length, end - offset)
            out.append((offset, length, kind))
            offset += length
    return out


def zeros_are_zeros(h, offset, size):
    """The map covers the range, and nothing in it is called zeros that is not."""
    found = status_map(h, offset, size)
    return sum(length for _, length, _ in found) == size and all(
        zeros_at(h, at + i, min(MB, length - i)) for at, length, kind in found if kind & nbd.STATE_ZERO for i in range(0, length, MB))


def negotiation(h):
    size = h.get_size()
    check('the size is that of the disk', size >= 64 * MB and size % 512 == 0, size)
    for name, got, expected in [
            ('FLUSH', h.can_flush(), True), ('FUA', h.can_fua(), True), ('TRIM', h.can_trim(), True), ('WRITE_ZEROES', h.can_zero(), True),
            ('FAST_ZERO', h.can_fast_zero(), True), ('CACHE', h.can_cache(), True), ('DF', h.can_df(), True),
            ('MULTI_CONN', h.can_multi_conn(), True), ('READ_ONLY', h.is_read_only(), False), ('ROTATIONAL', h.is_rotational(), False)]:
        same(f'the flag {name} is {"set" if expected else "clear"}', got, expected)
    check('structured replies are negotiated', h.get_structured_replies_negotiated())
    check('base:allocation is negotiated', h.can_meta_context('base:allocation'))
    same('the smallest request is 512 bytes', h.get_block_size(nbd.SIZE_MINIMUM), 512)
    preferred = h.get_block_size(nbd.SIZE_PREFERRED)
    check('the preferred request is 4 KB or more', preferred >= 4096 and preferred & (preferred - 1) == 0, preferred)
    same('the largest request is 32 MB', h.get_block_size(nbd.SIZE_MAXIMUM), 32 * MB)

    listing = nbd.NBD()
    listing.set_opt_mode(True)
    listing.connect_tcp(HOST, str(PORT))
    names = []
    listing.opt_list(lambda name, _description: names.append(name))
    check('LIST names the disk', EXPORT in names, names)
    contexts = []
    listing.set_export_name(EXPORT)
    listing.add_meta_context('base:')
    listing.opt_list_meta_context(contexts.append)
    same('LIST_META_CONTEXT answers the namespace', contexts, ['base:allocation'])
    listing.opt_info()
    same('INFO tells the size without opening', listing.get_size(), size)
    listing.set_export_name('no such disk')
    refused('INFO of an unknown export is refused', {errno.ENOENT}, listing.opt_info)
    refused('GO to an unknown export is refused', {errno.ENOENT}, listing.opt_go)
    listing.set_export_name(EXPORT)
    listing.opt_go()
    same('GO works after refusals', listing.get_size(), size)
    listing.shutdown()


def reads_and_writes(h):
    data = pattern(1 * MB, 1)
    h.pwrite(data, 3 * MB + 512)
    same('a write is read back', bytes(h.pread(1 * MB, 3 * MB + 512)), data)
    chunks = []
    got = h.pread_structured(2 * MB, 3 * MB, lambda piece, at, kind, _e: chunks.append((at, len(piece), kind)))
    same('a structured read of holes and data gives both', bytes(got), bytes(512) + data + bytes(1 * MB - 512))
    check('structured replies arrive in chunks', len(chunks) >= 1, chunks)
    chunks.clear()
    h.pread_structured(2 * MB, 3 * MB, lambda piece, at, kind, _e: chunks.append((at, len(piece), kind)), nbd.CMD_FLAG_DF)
    same('DF gives one chunk', [c[:2] for c in chunks], [(3 * MB, 2 * MB)])
    large = pattern(32 * MB, 2)
    h.pwrite(large, 8 * MB)
    same('a request of 32 MB goes both ways', bytes(h.pread(32 * MB, 8 * MB)), large)
    h.pwrite(pattern(4096, 3), 5 * MB, nbd.CMD_FLAG_FUA)
    same('a write with FUA is read back', bytes(h.pread(4096, 5 * MB)), pattern(4096, 3))
    h.flush()
    h.cache(1 * MB, 8 * MB)
    same('CACHE changes nothing', bytes(h.pread(1 * MB, 8 * MB)), large[:MB])

    plain = connected(prepare=lambda h: h.set_request_structured_replies(False))
    check('a client may refuse structured replies', not plain.get_structured_replies_negotiated())
    same('simple replies carry the same bytes', bytes(plain.pread(1 * MB, 3 * MB + 512)), data)
    refused('an error in a simple reply', {errno.EINVAL}, lambda: plain.pread(512, plain.get_size()))
    plain.shutdown()

    bytewise = connected(prepare=lambda h: h.set_request_block_size(False))
    bytewise.pwrite(b'xyz', 40 * MB + 1001)
    same('a client that did not ask for block sizes may write single bytes', bytes(bytewise.pread(7, 40 * MB + 999)), b'\0\0xyz\0\0')
    bytewise.shutdown()


def many_in_flight(h):
    """Large and small requests mixed, so that a server which works on several at a time has reasons to answer in another order."""
    rng = random.Random(4)
    slots = list(range(64))
    rng.shuffle(slots)
    contents = {s: pattern(64 * KB if s % 4 == 0 else 4 * KB, 100 + s) for s in slots}
    at = {s: 48 * MB + s * 64 * KB for s in slots}
    cookies = {h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(contents[s])), at[s]): s for s in slots}
    check('64 writes are in flight at once', len(cookies) == 64 and h.aio_in_flight() > 0, h.aio_in_flight())
    while h.aio_in_flight() > 0:
        h.poll(-1)
    check('each of 64 writes is answered without an error', all(h.aio_command_completed(c) for c in cookies))

    rng.shuffle(slots)
    buffers = {s: nbd.Buffer(len(contents[s])) for s in slots}
    cookies = {h.aio_pread(buffers[s], at[s]): s for s in slots}
    bad = [h.aio_pread(nbd.Buffer(4096), h.get_size() + i * 4096) for i in range(8)]
    while h.aio_in_flight() > 0:
        h.poll(-1)
    wrong = [s for c, s in cookies.items() if not h.aio_command_completed(c) or bytes(buffers[s].to_bytearray()) != contents[s]]
    same('64 reads in flight each get their own bytes', wrong, [])
    errors = 0
    for cookie in bad:
        try:
            h.aio_command_completed(cookie)
        except nbd.Error as error:
            errors += error.errnum == errno.EINVAL
    same('errors among them reach the requests they belong to', errors, 8)

    # Overlapping writes in flight may be done in either order, but never mixed within a sector, and reads agree afterwards.
    one, two = bytes([1]) * 64 * KB, bytes([2]) * 64 * KB
    for data in (one, two) * 8:
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), 56 * MB)
    while h.aio_in_flight() > 0:
        h.poll(-1)
    got = bytes(h.pread(64 * KB, 56 * MB))
    check('overlapping writes never mix within a sector', all(len(set(got[i:i + 512])) == 1 and got[i] in (1, 2) for i in range(0, len(got), 512)))
    same('and stay as they were first read', bytes(h.pread(64 * KB, 56 * MB)), got)

    big = nbd.Buffer(32 * MB)
    for _ in range(10):  # on a busy machine the small ones may arrive when the large one is already answered
        order = []
        h.aio_pread(big, 8 * MB, completion=lambda _e: order.append('large') or 1)
        for i in range(20):
            h.aio_pread(nbd.Buffer(4096), 48 * MB + i * 64 * KB, completion=lambda _e: order.append('small') or 1)
        while h.aio_in_flight() > 0:
            h.poll(-1)
        if order[0] == 'small':
            break
    check('20 small reads do not all wait for the large one before them', len(order) == 21 and order[0] == 'small', order[:3])


def zeroes_and_trims(h):
    same('what was never written is reported as a hole of zeros', {kind for _, _, kind in status_map(h, h.get_size() - 8 * MB, 8 * MB)},
         {nbd.STATE_HOLE | nbd.STATE_ZERO})
    data = pattern(8 * MB, 5)

    def fill():
        h.pwrite(data, 12 * MB)

    fill()
    same('data is reported as data', {kind for _, _, kind in status_map(h, 12 * MB, 8 * MB)}, {0})
    h.trim(8 * MB, 12 * MB)
    check('TRIM is read back as zeros', zeros_at(h, 12 * MB, 8 * MB))
    check('what BLOCK_STATUS calls zeros after a TRIM is zeros', zeros_are_zeros(h, 8 * MB, 16 * MB))
    fill()
    h.zero(8 * MB, 12 * MB)
    check('WRITE_ZEROES is read back as zeros', zeros_at(h, 12 * MB, 8 * MB))
    check('what BLOCK_STATUS calls zeros after WRITE_ZEROES is zeros', zeros_are_zeros(h, 8 * MB, 16 * MB))
    fill()
    h.zero(8 * MB, 12 * MB, nbd.CMD_FLAG_NO_HOLE)
    check('WRITE_ZEROES with NO_HOLE is read back as zeros', zeros_at(h, 12 * MB, 8 * MB))
    fill()
    h.zero(8 * MB, 12 * MB, nbd.CMD_FLAG_FAST_ZERO)
    check('WRITE_ZEROES with FAST_ZERO is read back as zeros', zeros_at(h, 12 * MB, 8 * MB))
    fill()
    h.zero(64 * KB, 12 * MB + 512, nbd.CMD_FLAG_FUA)
    expected = data[:512] + bytes(64 * KB) + data[512 + 64 * KB:]
    same('zeroing a part leaves the rest', bytes(h.pread(8 * MB, 12 * MB)), expected)
    fill()
    h.trim(5 * MB, 12 * MB + 1536, nbd.CMD_FLAG_FUA)
    expected = data[:1536] + bytes(5 * MB) + data[1536 + 5 * MB:]
    same('trimming a part leaves the rest', bytes(h.pread(8 * MB, 12 * MB)), expected)
    one = extents(h, 32 * MB, 8 * MB, nbd.CMD_FLAG_REQ_ONE)
    check('BLOCK_STATUS with REQ_ONE gives one extent inside the request', len(one) == 1 and 0 < one[0][0] <= 32 * MB, one)
    h.zero(h.get_size() & ~511 if h.get_size() < 4 << 30 else 1 << 30, 0)
    check('WRITE_ZEROES may be longer than any write', zeros_at(h, 8 * MB, 32 * MB))


def bounds(h):
    size = h.get_size()
    buffer = bytes(4096)
    past = {errno.EINVAL, errno.ENOSPC}
    refused('a read past the end', {errno.EINVAL}, lambda: h.pread(4096, size))
    refused('a read across the end', {errno.EINVAL}, lambda: h.pread(4096, size - 512))
    refused('a read at an offset that overflows', {errno.EINVAL}, lambda: h.pread(4096, 2**63 - 512))
    refused('a write past the end', past, lambda: h.pwrite(buffer, size))
    refused('a write across the end', past, lambda: h.pwrite(buffer, size - 512))
    refused('a trim past the end', past, lambda: h.trim(4096, size))
    refused('zeroes across the end', past, lambda: h.zero(1024, size - 512))
    refused('the status of blocks past the end', {errno.EINVAL}, lambda: h.block_status(4096, size, lambda *_: 0))
    refused('an unaligned read', {errno.EINVAL}, lambda: h.pread(512, 1))
    refused('a read of a part of a sector', {errno.EINVAL}, lambda: h.pread(100, 0))
    refused('an unaligned write', {errno.EINVAL}, lambda: h.pwrite(buffer, 100))
    refused('a flag that does not belong to the command', {errno.EINVAL}, lambda: h.pread_structured(512, 0, lambda *_: 0, nbd.CMD_FLAG_FAST_ZERO))
    same('the last sector is there', len(h.pread(512, size - 512)), 512)


def two_servers(h):
    """Any node exports every disk, and what one connection was told is true for all others."""
    other = connected(SECOND)
    same('another node tells the same size', other.get_size(), h.get_size())
    for i in range(8):
        h.pwrite(pattern(64 * KB, 200 + i), 20 * MB + i * 64 * KB)
        same(f'what one node wrote the other reads ({i + 1})', bytes(other.pread(64 * KB, 20 * MB + i * 64 * KB)), pattern(64 * KB, 200 + i))
        other.pwrite(pattern(64 * KB, 300 + i), 20 * MB + i * 64 * KB)
        same(f'and the other way round ({i + 1})', bytes(h.pread(64 * KB, 20 * MB + i * 64 * KB)), pattern(64 * KB, 300 + i))
    other.flush()
    other.shutdown()


# ---- a client that does not behave ------------------------------------------------------------------------------------------------

OPTION, REPLY, REQUEST = 0x49484156454F5054, 0x3e889045565a9, 0x25609513


class Raw:
    def __init__(self, flags=3):
        self.socket = socket.create_connection((HOST, PORT), timeout=10)
        same_greeting = self.take(18)
        self.greeting = struct.unpack('>QQH', same_greeting)
        if flags is not None:
            self.send(struct.pack('>I', flags))

    def send(self, data):
        self.socket.sendall(data)

    def take(self, size):
        data = b''
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def option(self, number, data=b'', length=None, magic=OPTION):
        self.send(struct.pack('>QII', magic, number, len(data) if length is None else length) + data)

    def option_reply(self):
        magic, option, kind, length = struct.unpack('>QIII', self.take(20))
        assert magic == REPLY
        return option, kind, self.take(length)

    def request(self, command, offset, length, payload=b'', flags=0, cookie=7, magic=REQUEST):
        self.send(struct.pack('>IHHQQI', magic, flags, command, cookie, offset, length) + payload)

    def simple_reply(self):
        magic, error, cookie = struct.unpack('>IIQ', self.take(16))
        return magic, error, cookie

    def closed(self):
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False


def attempt(what, function):
    try:
        check(what, *function())
    except (EOFError, OSError, AssertionError, struct.error) as error:
        check(what, False, repr(error))


def misbehaviour():
    def greeting():
        raw = Raw()
        return raw.greeting == (0x4e42444d41474943, OPTION, 3), raw.greeting
    attempt('the greeting is fixed newstyle with NO_ZEROES', greeting)

    def unknown_flags():
        return (Raw(flags=0x80000000).closed(),)
    attempt('unknown client flags end the connection', unknown_flags)

    def wrong_magic():
        raw = Raw()
        raw.option(3, magic=12345)
        return (raw.closed(),)
    attempt('an option with a wrong magic ends the connection', wrong_magic)

    def unknown_option():
        raw = Raw()
        raw.option(0x7777, b'abc')
        option, kind, _ = raw.option_reply()
        raw.option(2)
        return (option, kind) == (0x7777, 0x80000001) and raw.option_reply()[1] == 1, hex(kind)
    attempt('an unknown option is refused and the next one understood; ABORT is acknowledged', unknown_option)

    def oversize_option():
        raw = Raw()
        raw.option(7, length=0xfffffff0)
        try:
            _, kind, _ = raw.option_reply()
            return kind & 0x80000000 != 0, hex(kind)
        except EOFError:
            return (True,)
    attempt('an option of 4 GB is refused without waiting for it', oversize_option)

    def malformed_go():
        raw = Raw()
        raw.option(7, struct.pack('>I', 4000) + b'x')  # says a name of 4000 bytes
        _, kind, _ = raw.option_reply()
        return kind == 0x80000003, hex(kind)
    attempt('a GO whose parts do not fit is invalid', malformed_go)

    def half_a_message():
        raw = Raw()
        raw.send(struct.pack('>QI', OPTION, 7)[:9])
        raw.socket.close()
        return (True,)
    attempt('a client may leave in the middle of a message', half_a_message)

    def export_name(no_zeroes):
        def run():
            raw = Raw(flags=3 if no_zeroes else 1)
            raw.option(1, EXPORT.encode())
            _, flags = struct.unpack('>QH', raw.take(10))
            padding = b'' if no_zeroes else raw.take(124)
            raw.request(0, 0, 512, cookie=99)
            magic, error, cookie = raw.simple_reply()
            raw.take(512)
            return (magic, error, cookie) == (0x67446698, 0, 99) and flags & 1 and padding == bytes(len(padding)), (magic, error, cookie)
        return run
    attempt('EXPORT_NAME opens the disk', export_name(True))
    attempt('EXPORT_NAME opens the disk for a client that wants the zeroes', export_name(False))

    def unknown_export():
        raw = Raw()
        raw.option(1, b'no such disk')
        return (raw.closed(),)
    attempt('EXPORT_NAME of an unknown disk ends the connection', unknown_export)

    def transmission():
        raw = Raw()
        raw.option(1, EXPORT.encode())
        raw.take(10)
        return raw

    def unknown_command():
        raw = transmission()
        raw.request(99, 0, 0, cookie=1)
        first = raw.simple_reply()
        raw.request(3, 0, 0, cookie=2)
        second = raw.simple_reply()
        return first[1:] == (22, 1) and second[1:] == (0, 2), (first, second)
    attempt('an unknown command is an error, and the connection goes on', unknown_command)

    def oversize_read():
        raw = transmission()
        raw.request(0, 0, 0xfffffe00, cookie=1)
        first = raw.simple_reply()
        raw.request(3, 0, 0, cookie=2)
        return first[1] != 0 and raw.simple_reply()[1:] == (0, 2), first
    attempt('a read of 4 GB is an error, and the connection goes on', oversize_read)

    def refused_write_is_drained():
        raw = transmission()
        raw.request(1, 1 << 62, 65536, bytes(65536), cookie=1)
        first = raw.simple_reply()
        raw.request(3, 0, 0, cookie=2)
        return first[1] in (22, 28) and raw.simple_reply()[1:] == (0, 2), first
    attempt('the payload of a refused write is skipped, and the connection goes on', refused_write_is_drained)

    def request_magic():
        raw = transmission()
        raw.request(0, 0, 512, magic=0x11111111)
        return (raw.closed(),)
    attempt('a request with a wrong magic ends the connection', request_magic)

    def disconnect():
        raw = transmission()
        raw.request(2, 0, 0)
        return (raw.closed(),)
    attempt('DISC ends the connection', disconnect)

    def rubbish():
        rng = random.Random(6)
        for _ in range(50):
            raw = Raw(flags=None)
            try:
                raw.send(rng.randbytes(rng.randrange(1, 5000)))
            except OSError:
                pass
            raw.socket.close()
        return (True,)
    attempt('fifty connections send rubbish', rubbish)


def main():
    h = connected()
    negotiation(h)
    reads_and_writes(h)
    many_in_flight(h)
    zeroes_and_trims(h)
    bounds(h)
    same('the connection still works after every refusal', len(h.pread(4096, 0)), 4096)
    misbehaviour()
    h.pwrite(pattern(4096, 9), 0)
    same('the server still serves after every misbehaviour', bytes(connected().pread(4096, 0)), pattern(4096, 9))
    if SECOND:
        two_servers(h)
    h.shutdown()
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
