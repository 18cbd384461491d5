"""Random operations on the names of one folder that nobody else uses: creates, links, renames and removals, of which many must
fail. With an instance it moves, and its successor goes on in the same folder."""
import errno
import os

from record import Program

NAMES = "abcdef"
ANSWERS = (errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EPERM)


class Names:
    def __init__(self):
        self.program = Program()
        self.moves = self.program.setting["moves"]
        self.folder = self.program.setting["path"]
        self.made = 0

    def do(self, op, action, *arguments, **told):
        return self.program.history.do(op, action, *arguments, answers=ANSWERS, **told)

    def begin(self):
        if self.moves:
            self.program.history.do("grant", os.open, f"{self.folder}/grant", os.O_RDWR)
        else:
            self.folder = f"{self.folder}/{self.program.process}"
            self.program.history.do("make", os.mkdir, self.folder)
        self.list()

    def list(self):
        self.do("list", os.listdir, self.folder, tell=lambda names: sorted(set(names) - {"grant"}))

    def create(self, name):
        self.made += 1
        maker = f"{self.program.process}/{self.made}"
        fd = self.do("create", os.open, f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, name=name, id=maker)
        if fd is not None:
            self.do("fill", os.write, fd, maker.encode(), id=maker)
            self.do("close", os.close, fd)

    def work(self):
        dice = self.program.dice
        one, two = dice.choice(NAMES), dice.choice(NAMES)
        kind = dice.choice(["create"] * 4 + ["unlink"] * 2 + ["rename"] * 4 + ["link"] * 3 + ["mkdir", "rmdir", "list"])
        at = f"{self.folder}/{one}"
        if kind == "list":
            self.list()
        elif kind == "create":
            self.create(one)
        elif kind in ("rename", "link"):
            self.do(kind, getattr(os, kind), at, f"{self.folder}/{two}", name=one, to=two)
        else:
            self.do(kind, getattr(os, kind), at, name=one)


names = Names()
names.program.run(names.work, names.begin, names.list)
