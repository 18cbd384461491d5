"""Tries to open for writing what an instance holds: EBUSY, unless nobody holds it."""
import errno
import os

from record import Program


class Stranger:
    def __init__(self):
        self.program = Program()

    def work(self):
        history = self.program.history
        path = self.program.dice.choice(self.program.setting["paths"])
        fd = history.do("intrude", os.open, path, os.O_WRONLY, answers=(errno.EBUSY,), path=path)
        if fd is not None:
            history.do("close", os.close, fd)


stranger = Stranger()
stranger.program.run(stranger.work)
