"""A program that writes in every way at once until it is fenced; test_storm.py runs it on two nodes, each time anew.

Its first act, the open of the ledger, takes the instance over. Then it *seals* what its forerunners left behind: for each of
their folders a file that says what it holds at that moment. Nobody but its maker writes into a folder, so a byte, a name
or a size that differs from the seal later on is a late one. Then it and its children write into a folder of their own.

usage: storm.py FOLDER NODE
"""
import errno
import hashlib
import json
import mmap
import os
import random
import sys

WRITERS = 4
KIB = 1024


def tell(folder):
    """name -> [size, hash] of all that the folder holds."""
    told = {}
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb") as file:
            data = file.read()
        told[name] = [len(data), hashlib.sha256(data).hexdigest()]
    return told


def seal(me):
    """Seals every folder that has no seal yet. The rename makes a seal whole or absent."""
    names = set(os.listdir("."))
    for name in sorted(names):
        if name.startswith("by-") and name != me and not name.endswith(".seal") and f"{name}.seal" not in names:
            try:
                text = json.dumps({"by": me, "holds": tell(name)})
            except FileNotFoundError:
                if name in os.listdir("."):
                    raise
                continue   # sealed long ago: the test has removed it, and its seal, while we listed
            with open(f"draft-{me}", "w") as file:
                file.write(text)
            os.rename(f"draft-{me}", f"{name}.seal")


def write(fd, dice, tag):
    size = dice.choice([4, 4, 4, 16, 64, 256, 1024]) * KIB
    os.pwrite(fd, tag * (size // len(tag)), dice.randrange(64) * 4 * KIB)


def store(fd, dice, tag):
    size = 64 * KIB
    if os.fstat(fd).st_size >= size:
        with mmap.mmap(fd, size) as area:
            offset = dice.randrange(size // len(tag)) * len(tag)
            area[offset:offset + len(tag)] = tag


def truncate(fd, dice, _tag):
    os.ftruncate(fd, dice.randrange(64) * 4 * KIB)


class Writer:
    def __init__(self, folder, number):
        self.folder = folder
        self.number = number
        self.dice = random.Random(os.getpid())
        self.data = os.open(f"{folder}/data-{number}", os.O_RDWR | os.O_CREAT)
        self.log = os.open(f"{folder}/log-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.round = 0

    def append(self):
        os.write(self.log, b"%d %d\n" % (self.number, self.round))

    def rename(self):
        name = f"{self.folder}/tmp-{self.number}"
        with open(name, "wb", buffering=0) as file:
            file.write(b"%d %d" % (self.number, self.round))
        os.rename(name, f"{self.folder}/renamed-{self.number}")

    def once(self):
        self.round += 1
        tag = b"%7d\n" % (self.round % 10**7)
        self.dice.choice([
            lambda: write(self.data, self.dice, tag), lambda: write(self.data, self.dice, tag),
            lambda: store(self.data, self.dice, tag), lambda: truncate(self.data, self.dice, tag),
            self.append, self.rename])()


def until_fenced(work):
    """Ends the process when it is refused with ESTALE; with another status if it is refused with anything else."""
    try:
        while True:
            work()
    except OSError as error:
        if error.errno != errno.ESTALE:
            os.write(2, f"{error!r}\n".encode())
        os._exit(0 if error.errno == errno.ESTALE else 5)


def main():
    os.chdir(sys.argv[1])
    me = f"by-{sys.argv[2]}-{os.getpid()}"

    def begin():
        ledger = os.open("ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(ledger, f"{me}\n".encode())
        seal(me)
        os.mkdir(me)
        for number in range(WRITERS):
            if os.fork() == 0:
                until_fenced(Writer(me, number).once)
        until_fenced(lambda: os.write(ledger, f"{me}\n".encode()))
    until_fenced(begin)


main()
