"""Appends records to a log: several processes through O_APPEND handles of their own. With an instance it moves, and begins with
the open that takes over and a record that says so; without one, many of them on all nodes share the log."""
import os
import zlib

from record import Program

SIZES = [20, 60, 200, 200, 900, 4000, 5000, 9000, 16000]


def record(process, seq, kind, size):
    """One record: its head names its maker and the payload's sum. No payload holds a '#'."""
    payload = (f"{process}/{seq}/" * (size // 8 + 1))[:size]
    return f"#{process} {seq} {kind} {size} {zlib.crc32(payload.encode()):08x}:{payload}\n".encode()


class Log:
    def __init__(self):
        self.program = Program()
        self.path = self.program.setting["path"]
        self.moves = self.program.setting["moves"]
        self.seq = 0
        self.fd = None

    def begin(self):
        self.open("grant" if self.moves else "open")
        if self.moves:
            self.append("mark", 20)
            for _ in range(2):
                self.program.fork(self.work)

    def open(self, op="open"):
        self.fd = self.program.history.do(op, os.open, self.path, os.O_WRONLY | os.O_APPEND)

    def append(self, op, size):
        self.seq += 1
        data = record(self.program.process, self.seq, op, size)
        self.program.history.do(op, os.write, self.fd, data, tell=lambda count: count, seq=self.seq, bytes=len(data))

    def work(self):
        kind = self.program.dice.random()
        if kind < 0.9:
            self.append("append", self.program.dice.choice(SIZES))
        elif kind < 0.95:
            self.program.history.do("fsync", os.fsync, self.fd)
        else:
            old = self.fd
            self.open()
            self.program.history.do("close", os.close, old)


log = Log()
log.program.run(log.work, log.begin)
