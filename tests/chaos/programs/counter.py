"""Counts in one file, under a lock of one kind, together with others on every node."""
import fcntl
import os
import struct
import time
import zlib

from record import Program

FLOCK = struct.Struct("hhqqi4x")   # struct flock of Linux, 64 bit
F_OFD_SETLKW = 38


def text(value, stamp):
    body = f"{value:012d} {stamp:<60} "
    return f"{body}{zlib.crc32(body.encode()):08x}\n".encode()


def parsed(data):
    """[value, stamp], or None if it is not what one write wrote."""
    body, found = data[:-9], data[-9:-1]
    if len(data) != len(text(0, "")) or f"{zlib.crc32(body):08x}".encode() != found:
        return None
    words = body.decode().split()
    return [int(words[0]), words[1]]


def lock(kind, fd, take):
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX if take else fcntl.LOCK_UN)
    elif kind == "ofd":
        fcntl.fcntl(fd, F_OFD_SETLKW, FLOCK.pack(fcntl.F_WRLCK if take else fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX if take else fcntl.LOCK_UN)


class Counter:
    def __init__(self):
        self.program = Program()
        self.kind = self.program.setting["kind"]
        self.size = len(text(0, "-"))
        self.fd = None

    def do(self, op, action, *arguments, **told):
        return self.program.history.do(op, action, *arguments, **told)

    def open(self):
        self.fd = self.do("open", os.open, self.program.setting["path"], os.O_RDWR)

    def read(self, op):
        return self.do(op, lambda: parsed(os.pread(self.fd, self.size, 0)), tell=lambda found: found)

    def work(self):
        me = self.program.process
        self.do("lock", lock, self.kind, self.fd, True)
        found = self.read("read")
        if found is None:
            raise OSError(0, "torn")
        value = found[0]
        self.do("enter", os.pwrite, self.fd, text(value, me), 0, value=value)
        time.sleep(self.program.dice.random() * 0.004)
        self.read("check")
        self.do("leave", os.pwrite, self.fd, text(value + 1, "-"), 0, value=value + 1)
        self.do("unlock", lock, self.kind, self.fd, False)
        if self.program.dice.random() < 0.05:
            self.do("close", os.close, self.fd)
            self.open()


if __name__ == "__main__":
    counter = Counter()
    counter.program.run(counter.work, counter.open)
