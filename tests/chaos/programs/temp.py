"""Temporary files that lost their name while they are open: what is in them must stay, whatever happens to the server."""
import os

from record import Program

BLOCK = 1000    # not a divisor of a page
BLOCKS = 12
OPEN = 3


def content(key, block, version):
    head = f"{key} {block} {version} ".encode()
    return head + b"." * (BLOCK - len(head))


def parsed(data, key, block):
    """The block's version, or None if it is no whole block of this file."""
    words = data.split(b" ")
    if len(data) != BLOCK or len(words) < 4 or words[0] != key.encode() or int(words[1]) != block:
        return None
    version = int(words[2])
    return version if data == content(key, block, version) else None


class Temp:
    def __init__(self):
        self.program = Program()
        self.folder = self.program.setting["path"]
        self.made = 0
        self.version = 0
        self.files = []

    def do(self, op, action, *arguments, **told):
        return self.program.history.do(op, action, *arguments, **told)

    def create(self):
        """A file, filled, whose name is then removed or given to another."""
        self.made += 1
        key = f"{self.program.process}/{self.made}"
        path = f"{self.folder}/{self.program.process}-{self.made}"
        fd = self.do("create", os.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, key=key)
        for block in range(BLOCKS):
            self.write(key, fd, block)
        if self.program.dice.random() < 0.5:
            self.do("unlink", os.unlink, path, key=key)
        else:
            self.do("close", os.close, self.do("open", os.open, path + "-other", os.O_WRONLY | os.O_CREAT, 0o666))
            self.do("replace", os.rename, path + "-other", path, key=key)
            self.do("unlink", os.unlink, path, key="")
        self.files.append((key, fd))

    def write(self, key, fd, block):
        self.version += 1
        self.do("write", os.pwrite, fd, content(key, block, self.version), block * BLOCK, tell=lambda count: count, key=key, block=block,
                version=self.version, bytes=BLOCK)

    def work(self):
        dice = self.program.dice
        if len(self.files) < OPEN:
            self.create()
        key, fd = dice.choice(self.files)
        block = dice.randrange(BLOCKS)
        kind = dice.random()
        if kind < 0.4:
            self.write(key, fd, block)
        elif kind < 0.8:
            self.do("read", lambda: parsed(os.pread(fd, BLOCK, block * BLOCK), key, block), tell=lambda found: found, key=key, block=block)
        elif kind < 0.9:
            self.do("stat", os.fstat, fd, tell=lambda found: [found.st_nlink, found.st_size], key=key)
        elif kind < 0.97:
            self.do("fsync", os.fsync, fd, key=key)
        else:
            self.files.remove((key, fd))
            self.do("close", os.close, fd, key=key)


temp = Temp()
temp.program.run(temp.work)
