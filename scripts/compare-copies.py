#!/usr/bin/python3
"""Compares the copies of every object at rest.

    compare-copies.py COPIES DUMP...          DUMP is what storedump printed for one node
    compare-copies.py COPIES --vdi N DUMP...  only the objects of these disks

A member that an object has left may keep an older copy. The newest version of each object must be whole, undamaged and the same in at
least COPIES places. Prints what is wrong; the exit code is 1 then, and also if there was nothing to compare.
"""
import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument('copies', type=int)
parser.add_argument('dump', nargs='+')
parser.add_argument('--vdi', type=int, action='append')
args = parser.parse_args()

objects = {}
for path in args.dump:
    for line in open(path):
        name, version, state, digest = line.rstrip('\n').split(' ', 3)
        if args.vdi is None or int(name, 16) >> 32 & 0xffffff in args.vdi:
            objects.setdefault(name, []).append((tuple(map(int, version.split('.'))), state, digest, os.path.basename(path)))
compared, wrong = 0, 0
for name, found in sorted(objects.items()):
    newest = max(found)[0]
    if newest == (0, 0, 0):
        continue  # asked for, never written
    best = [copy for copy in found if copy[0] == newest]
    compared += 1
    if len(best) < args.copies or any(copy[1] != 'whole' or copy[2] != best[0][2] or copy[2].startswith('damaged') for copy in best):
        wrong += 1
        print(f'object {name}:')
        for copy in sorted(found):
            print('  {3}: version {0[0]}.{0[1]}.{0[2]}, {1}, {2}'.format(*copy))
print(f'{compared} objects in {len(args.dump)} stores, {wrong} without {args.copies} equal copies')
sys.exit(1 if wrong or not compared else 0)
