"""What the chaos run's programs have in common: a history of every operation, kept on the node's own disk.

One file for each process, one JSON object a line: first who it is, then for each operation its intent before it is begun and
its result afterwards, each in the file before the program goes on. A process ends at the first error that is no answer to be
expected, as a program does that cannot know what became of its files. Times are CLOCK_MONOTONIC's.

usage of every program: PROGRAM.py SETTING, a JSON object (see runner.py)
"""
import json
import os
import random
import sys
import time

ENDED_BY_ERROR = 3


class History:
    def __init__(self, setting, process):
        self._number = 0
        self._fd = os.open(f"{setting['histories']}/{process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        about = {key: setting[key] for key in ("run", "job", "node", "instance", "workload", "path")}
        self._put(process=process, **about)

    def _put(self, **line):
        os.write(self._fd, (json.dumps({"t": time.monotonic(), **line}) + "\n").encode())

    def do(self, op, action, *arguments, tell=None, answers=(), **told):
        """Does action(*arguments) as operation `op` of which `told` is known before, and tell(value) afterwards. An errno among
        the answers is a result like any other: None is returned."""
        self._number += 1
        number = self._number
        self._put(n=number, op=op, **told)
        try:
            value = action(*arguments)
        except OSError as error:
            self._put(n=number, err=error.errno, text=str(error))
            if error.errno in answers:
                return None
            raise
        self._put(n=number, ok=tell(value) if tell else None)
        return value

    def finish(self):
        self._put(finished=True)


class Program:
    """A process of a run. `work` is done over and over until the stop file is there; the first argument of do_run is called
    once before."""

    def __init__(self):
        self.setting = json.loads(sys.argv[1])
        self.process = self.setting["run"]
        self.history = History(self.setting, self.process)
        self.dice = random.Random(f"{self.setting['seed']} {self.process}")

    def stopped(self):
        return os.path.exists(self.setting["stop"])

    def pause(self):
        time.sleep(self.dice.random() * 2 * self.setting["pace"])

    def fork(self, work):
        """A child with a history of its own, which works until the stop."""
        self._children = getattr(self, "_children", 0) + 1
        name = f"{self.setting['run']}.{self._children}"
        child = os.fork()
        if child == 0:
            self.process = name
            self.history = History(self.setting, name)
            self.dice = random.Random(f"{self.setting['seed']} {name}")
            self.run(work)
        return child

    def run(self, work, begin=lambda: None, end=lambda: None):
        try:
            begin()
            while not self.stopped():
                work()
                self.pause()
            end()
        except OSError:
            os._exit(ENDED_BY_ERROR)
        self.history.finish()
        os._exit(0)


def write_all(fd, data, offset=None):
    """One write call; its count."""
    return os.write(fd, data) if offset is None else os.pwrite(fd, data, offset)
