#!/usr/bin/python3
"""A chaos run: programs with checkable histories on three nodes, while batond is killed again and again, links are cut, mounts are
killed, nodes frozen, and programs moved; checker.py judges it in the end. scripts/chaos is the way to start it.

All choices come from --seed; how far real daemons let them repeat is another matter, so every action is in actions.jsonl with its time.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import checker  # noqa: E402
from checks.world import read_world  # noqa: E402
from faults import NodeFaults, ServerFaults  # noqa: E402
from jobs import Jobs  # noqa: E402
from lab import Lab, eventually  # noqa: E402

NODES = ("one", "two", "three")
ROUND = 300.0     # seconds: a longer run is several of these, each with files and histories of its own
SETTLE = 20.0     # within this, after all is mended, every job must have gone on


class Actions:
    """What is done to the daemons and nodes: one line each, in the order of their ends."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def did(self, what, begin=None, **told):
        now = time.monotonic()
        line = {"t": now if begin is None else begin, "end": now, "did": what, **told}
        os.write(self._fd, (json.dumps(line) + "\n").encode())


class Round:
    """One server, three nodes with a mount each, and the programs."""

    def __init__(self, options, number):
        self.options = options
        self.seed = f"{options.seed}-{number}"
        self.lab = Lab()
        self.directory = self.lab.directory
        self.actions = Actions(self.directory / "actions.jsonl")
        self.actions.did("begin", seed=self.seed, lease=options.lease, kill_only=options.kill_only)
        (self.directory / "histories").mkdir()
        (self.directory / "histories").chmod(0o777)
        self.lab.mount_options = ("claim_wait=0.2",)
        self.server = self.lab.server("--lease", f"{options.lease}s", "--flap-limit", "0", *options.server)
        self.nodes = [self.lab.node(name) for name in NODES]
        for node in self.nodes:
            node.mount()
        self.problems = []       # beside what the checker finds
        self.jobs = Jobs(self)
        self.faults = [NodeFaults(self, node) for node in self.nodes] if not options.kill_only else []
        self.killer = ServerFaults(self)

    def run(self, seconds):
        self.jobs.start()
        threads = [*self.faults, *([] if self.options.no_kill else [self.killer])]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.killer.kills_left() and not any(thread.failed for thread in threads):
            time.sleep(0.1)
        for thread in threads:
            thread.stop()
        self.problems += [thread.failed for thread in threads if thread.failed]
        self.settle()

    def settle(self):
        """All is well again: every job goes on, and ends when it is asked to."""
        self.actions.did("healed")
        for step in (self.jobs.gone_on, self.jobs.end, self.nothing_left):
            try:
                step()
            except AssertionError as error:
                self.problems.append(str(error))
        self.actions.did("over")

    def nothing_left(self):
        """When no program is left, the server keeps nothing of theirs."""
        eventually(lambda: self.server.listing("status")[0]["handles"] == 0, 20, "no handle is left behind")
        status = self.server.listing("status")[0]
        if status["waiting"]:
            raise AssertionError(f"waiting requests are left behind: {status}")

    def judge(self):
        """Ends the daemons and reads what is there; whether all was well."""
        problems = self.problems
        for mount in [mount for node in self.nodes for mount in node.runs if mount.alive]:
            try:
                if mount.unmount() != 0:
                    problems.append(f"{mount.title} ended with an error")
            except AssertionError as error:
                problems.append(str(error))
        if self.server.terminate() != 0:
            problems.append("batond ended with an error")
        daemons = [self.server, *(mount for node in self.nodes for mount in node.runs)]
        problems += [f"{daemon.title}: {bug}" for daemon in daemons if (bug := daemon.bug())]
        problems += [f"{path.name}: {text}" for path in self.directory.glob("stderr-*") if (text := complaint(path))]
        world = read_world(self.directory)
        found = checker.violations(world)
        for line in [*(f"PROBLEM: {problem}" for problem in problems), *checker.report(world, found)]:
            print(line, flush=True)
        print(f"seed {self.seed}: {checker.summary(world, found)}", flush=True)
        return not problems and not found

    def close(self, keep):
        if keep:
            os.environ["BATON_KEEP"] = "1"
            print(f"kept: {self.directory}", flush=True)
        self.lab.close(check=False)


def complaint(path):
    """What a program said for people, but that its mount was gone before it began."""
    lines = path.read_text()[-2000:].splitlines()
    return "\n".join(line for line in lines if not line.startswith("env: cannot change directory"))


def arguments(words):
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="kills, cuts and freezes under load; checks every history")
    parser.add_argument("minutes", nargs="?", type=float, default=5)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--kill-only", action="store_true", help="only the server is killed, nothing else; no program moves")
    parser.add_argument("--no-kill", action="store_true", help="the server lives")
    parser.add_argument("--kills", type=int, default=0, help="end after so many kills of the server")
    parser.add_argument("--every", type=float, default=1.0, help="seconds, about, from one start of the server to its next end")
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--pace", type=float, default=0.06, help="seconds, on average, between two steps of a program")
    parser.add_argument("--keep", action="store_true", help="keep the directory also when all is well")
    parser.add_argument("--server", action="append", default=[], help="an option for batond")
    return parser.parse_args(words)


def main(words):
    options = arguments(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seconds = options.minutes * 60
    rounds = max(1, round(seconds / ROUND)) if not options.kills else 1
    good = True
    for number in range(rounds):
        played = Round(options, number)
        well = False
        try:
            played.run(seconds / rounds)
            well = played.judge()
        finally:
            played.close(keep=options.keep or not well)
        good = good and well
    return 0 if good else 1


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("nsenter"):
        sys.exit("chaos: needs root (namespaces, mounts)")
    sys.exit(main(sys.argv[1:]))
