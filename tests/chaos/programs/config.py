"""Replaces one file again and again by a new version: write a temporary file, fsync, rename. Instance: moves."""
import json
import os
import sys
import zlib

from record import Program


def version(generation, run, size):
    payload = (f"{generation}/" * size)[:size]
    return f"{generation} {run} {size} {zlib.crc32(payload.encode()):08x}\n{payload}".encode()


def parsed(data):
    """[generation, run], or None if it is no whole version."""
    head, _, payload = data.partition(b"\n")
    words = head.decode(errors="replace").split()
    if len(words) != 4 or int(words[2]) != len(payload) or int(words[3], 16) != zlib.crc32(payload):
        return None
    return [int(words[0]), words[1]]


def read_version(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    finally:
        os.close(fd)
    return parsed(b"".join(parts))


class Config:
    def __init__(self):
        self.program = Program()
        self.folder = self.program.setting["path"]
        self.path = f"{self.folder}/current"
        self.generation = 0
        self.fd = None
        self.number = 0

    def do(self, op, action, *arguments, **told):
        return self.program.history.do(op, action, *arguments, **told)

    def begin(self):
        self.fd = self.do("grant", os.open, f"{self.folder}/owner", os.O_RDWR)
        self.generation = self.do("read", read_version, self.path, tell=lambda found: found)[0]

    def work(self):
        self.number += 1
        self.generation += 1
        temporary = f"{self.folder}/{self.program.process}-{self.number}"
        data = version(self.generation, self.program.process, self.program.dice.choice([10, 1000, 5000, 30000]))
        fd = self.do("create", os.open, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self.do("write", os.write, fd, data, tell=lambda count: count, bytes=len(data))
        self.do("fsync", os.fsync, fd)
        if self.program.dice.random() < 0.5:
            self.do("close", os.close, fd)
            fd = None
        if self.program.dice.random() < 0.3:
            self.do("link", os.link, temporary, temporary + "-link")
            self.do("unlink", os.unlink, temporary + "-link")
        self.do("publish", os.rename, temporary, self.path, generation=self.generation)
        if fd is not None:
            self.do("close", os.close, fd)


class Reader:
    """Reads the file over and over, on any node, as anybody."""

    def __init__(self):
        self.program = Program()
        self.path = self.program.setting["path"] + "/current"

    def work(self):
        self.program.history.do("read", read_version, self.path, tell=lambda found: found)


if json.loads(sys.argv[1])["workload"] == "config":
    config = Config()
    config.program.run(config.work, config.begin)
else:
    reader = Reader()
    reader.program.run(reader.work)
