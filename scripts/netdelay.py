#!/usr/bin/python3
"""Delays and loses the packets that netfilter hands to a queue, for machines whose kernel has no netem.

    netdelay.py --queue N [--delay MS] [--jitter MS] [--loss PERCENT] [--seed S]

To be used with `iptables -A INPUT ... -j NFQUEUE --queue-num N --queue-bypass`, in the network namespace it is started in. Prints `ready`
when the queue is bound; runs until it is killed, and then packets pass undisturbed. Packets keep their order, as on a wire. Speaks the
kernel's netlink protocol itself (linux/netfilter/nfnetlink_queue.h), so it needs no library.
"""
import argparse
import collections
import random
import select
import socket
import struct
import time

NETLINK_NETFILTER, SUBSYSTEM_QUEUE = 12, 3
MSG_PACKET, MSG_VERDICT, MSG_CONFIG = 0, 1, 2
ATTR_CONFIG_COMMAND, ATTR_CONFIG_PARAMS, ATTR_CONFIG_LENGTH = 1, 2, 3
ATTR_PACKET_HEADER, ATTR_VERDICT = 1, 2
DROP, ACCEPT = 0, 1


def attribute(kind, data):
    length = 4 + len(data)
    return struct.pack('=HH', length, kind) + data + bytes(-length % 4)


def message(kind, queue, attributes, flags=1):
    body = struct.pack('>BBH', socket.AF_UNSPEC, 0, queue) + attributes
    return struct.pack('=IHHII', 16 + len(body), SUBSYSTEM_QUEUE << 8 | kind, flags, 0, 0) + body


def packet_ids(data):
    """The numbers of the packets that these netlink messages announce."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from('=IH', data, at)
        if kind == SUBSYSTEM_QUEUE << 8 | MSG_PACKET:
            inner = at + 20
            while inner + 4 <= at + length:
                size, name = struct.unpack_from('=HH', data, inner)
                if name & 0x3fff == ATTR_PACKET_HEADER:
                    yield struct.unpack_from('>I', data, inner + 4)[0]
                    break
                inner += max(4, size + 3 & ~3)
        elif kind == 2:  # an error, or the answer to a request
            code = struct.unpack_from('=i', data, at + 16)[0]
            if code != 0:
                raise OSError(-code, 'the kernel refuses the queue')
        at += max(16, length + 3 & ~3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--queue', type=int, required=True)
    parser.add_argument('--delay', type=float, default=5)
    parser.add_argument('--jitter', type=float, default=0)
    parser.add_argument('--loss', type=float, default=0)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)

    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind((0, 0))
    request_and_answer = 1 | 4
    for config in (attribute(ATTR_CONFIG_COMMAND, struct.pack('>BBH', 1, 0, socket.AF_INET)),  # bind this queue
                   attribute(ATTR_CONFIG_PARAMS, struct.pack('>IB', 0, 1)),                    # tell the numbers only, no contents
                   attribute(ATTR_CONFIG_LENGTH, struct.pack('>I', 16384))):
        s.send(message(MSG_CONFIG, args.queue, config, request_and_answer))
        list(packet_ids(s.recv(65536)))
    print('ready', flush=True)

    held = collections.deque()  # (when it may pass, number)
    last = 0.0
    while True:
        wait = None if not held else max(0.0, held[0][0] - time.monotonic())
        if select.select([s], [], [], wait)[0]:
            try:
                data = s.recv(1 << 16)
            except OSError:  # the socket's buffer overflowed: packets were lost, as is the purpose here
                continue
            for number in packet_ids(data):
                if rng.uniform(0, 100) < args.loss:
                    s.send(message(MSG_VERDICT, args.queue, attribute(ATTR_VERDICT, struct.pack('>II', DROP, number))))
                    continue
                last = max(last, time.monotonic() + (args.delay + rng.uniform(0, args.jitter)) / 1000)
                held.append((last, number))
        now = time.monotonic()
        while held and held[0][0] <= now:
            s.send(message(MSG_VERDICT, args.queue, attribute(ATTR_VERDICT, struct.pack('>II', ACCEPT, held.popleft()[1]))))


main()
