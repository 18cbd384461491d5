"""The programs of a chaos run and who starts them again: some stay on their node, some move from node to node."""
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import uuid

from lab import eventually

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = ["/usr/bin/python3", "-E", "-s", "-S", "-B"]
AGAIN = 0.1       # seconds until a program that ended is started again


class Run:
    """A process, and its children, from its start to its end."""

    def __init__(self, job, node, name, process):
        self.job = job
        self.node = node
        self.name = name
        self.process = process

    @property
    def alive(self):
        return self.process.poll() is None

    def group_alive(self):
        try:
            os.killpg(self.process.pid, 0)
            return True
        except ProcessLookupError:
            return False

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Job:
    """What is to run. `nodes`: where it may; a job with several of them moves. Its name is that of its files."""

    def __init__(self, name, workload, program, nodes, instance=False, path=None, **setting):
        self.name = name
        self.workload = workload
        self.program = program
        self.nodes = nodes
        self.instance = str(uuid.uuid4()) if instance else None
        self.setting = {"path": path or name, **setting}
        self.moves = len(nodes) > 1
        self.count = 0
        self.runs = []          # those that may still live
        self.not_before = 0.0
        self.move_at = None


def the_jobs(nodes, kill_only):
    moving = [
        Job("bank-delete", "bank", "bank", nodes, True, "bank-delete.db", journal="delete"),
        Job("bank-wal", "bank", "bank", nodes, True, "bank-wal.db", journal="wal"),
        Job("log-moving", "append", "append", nodes, True, moves=True),
        Job("config", "config", "config", nodes, True),
        Job("names-moving", "names", "names", nodes, True, moves=True),
    ]
    staying = []
    for node in nodes:
        def stays(name, workload, program, instance=False, **setting):
            staying.append(Job(f"{name}@{node.name}", workload, program, [node], instance, **setting))  # noqa: B023
        stays("log-shared", "append", "append", path="log-shared", moves=False)
        stays("config", "reader", "config", path="config")
        stays("names", "names", "names", path="names-alone", moves=False)
        stays("temp", "temp", "temp", instance=True, path="temp")
        stays("temp-nobody", "temp", "temp", path="temp")
        for kind in ("posix", "flock", "ofd"):
            for number in (1, 2) if kind != "ofd" else (1,):
                stays(f"counter-{kind}-{number}", "counter", "counter", path=f"counter-{kind}", kind=kind)
        stays("stranger", "stranger", "stranger", paths=["log-moving"], pace=0.3)
    del kill_only
    return moving + staying


def prepare(export):
    """The files that are there before anybody asks."""
    def put(name, data):
        path = export / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o777)
        path.write_bytes(data)
        path.chmod(0o666)
    for name in ("log-moving", "log-shared", "config/owner", "names-moving/grant", "names-alone/x", "temp/x"):
        put(name, b"")
    (export / "names-alone/x").unlink()
    (export / "temp/x").unlink()
    put("config/current", b"0 - 0 00000000\n")
    start = subprocess.run([*PYTHON, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import counter; sys.stdout.buffer.write(counter.text(0, '-'))",
                            HERE / "programs"], check=True, stdout=subprocess.PIPE)
    for kind in ("posix", "flock", "ofd"):
        put(f"counter-{kind}", start.stdout)


class Jobs:
    """A thread keeps every job running, and moves those that may."""

    def __init__(self, played):
        self.played = played
        self.actions = played.actions
        self.dice = random.Random(f"{played.seed} jobs")
        self.jobs = the_jobs(played.nodes, played.options.kill_only)
        self.stop_path = played.directory / "stop"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._error = None
        prepare(played.lab.export)

    def start(self):
        self._thread.start()

    def _keep(self):
        try:
            while not self._over.wait(0.02):
                for job in self.jobs:
                    self._look_after(job)
        except Exception as error:  # pylint: disable=broad-except
            self._error = error
            raise

    def _look_after(self, job):
        for run in [run for run in job.runs if not run.alive]:
            self._ended(job, run)
        now = time.monotonic()
        moving = job.moves and not self.played.options.kill_only
        if moving and job.move_at is not None and now > job.move_at and job.runs:
            here = job.runs[-1].node
            self._begin(job, self.dice.choice([node for node in job.nodes if node is not here]))
        elif not any(run is job.runs[-1] for run in job.runs) and now > job.not_before:
            self._begin(job, self.dice.choice(job.nodes) if moving else job.nodes[0] if not job.moves else self._home(job))

    def _home(self, job):
        """Where a job stays that could move."""
        return job.nodes[self.jobs.index(job) % len(job.nodes)]

    def _ended(self, job, run):
        job.runs.remove(run)
        job.not_before = time.monotonic() + AGAIN
        self.actions.did("exit", run=run.name, node=run.node.name, status=run.process.returncode)

    def _begin(self, job, node):
        """Starts it on the node, unless nothing can be started there now. What else of it lives there ends first."""
        faults = next((faults for faults in self.played.faults if faults.node is node), None)
        if faults and not faults.usable.acquire(blocking=False):
            return
        try:
            for run in [run for run in job.runs if run.node is node]:
                self.kill(run, "started anew here")
            job.count += 1
            name = f"{job.name}-{job.count}"
            self.actions.did("start", run=name, node=node.name)
            job.runs.append(Run(job, node, name, self._popen(job, node, name)))
            job.move_at = time.monotonic() + self.dice.uniform(1.0, 6.0)
        finally:
            if faults:
                faults.usable.release()

    def _popen(self, job, node, name):
        setting = {"pace": self.played.options.pace, **job.setting, "run": name, "job": job.name, "node": node.name, "instance": job.instance, "workload": job.workload,
                   "seed": self.played.seed, "histories": str(self.played.directory / "histories"), "stop": str(self.stop_path)}
        with open(self.played.directory / f"stderr-{name}", "ab") as log:
            return node.popen([*PYTHON, HERE / "programs" / f"{job.program}.py", json.dumps(setting)], instance=job.instance,
                              cwd=self.played.lab.mount_point, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, run, why):
        self.actions.did("killed", run=run.name, node=run.node.name, why=why)
        run.kill()
        try:
            eventually(lambda: not run.alive, 20, f"{run.name} ends when it is killed")
        except AssertionError as error:
            self.played.problems.append(str(error))

    def kill_all(self, node):
        """All programs of the node, whose mount is gone."""
        for job in self.jobs:
            for run in [run for run in job.runs if run.node is node]:
                self.actions.did("killed", run=run.name, node=node.name, why="with its mount")
                run.kill()

    def gone_on(self):
        """Each job has a run that has done something since now."""
        if self._error:
            raise AssertionError(f"who starts the programs: {self._error!r}")
        histories = self.played.directory / "histories"
        missing = {job.name for job in self.jobs}
        sizes = {path: path.stat().st_size for path in histories.glob("*.jsonl")}

        def all_gone_on():
            for job in self.jobs:
                if job.name in missing and any(path.stat().st_size > sizes.get(path, 0) + 1000 for path in histories.glob(f"{job.name}-*.jsonl")):
                    missing.remove(job.name)
            return not missing
        try:
            eventually(all_gone_on, 90)   # a disk may stall for seconds under such load
        except AssertionError:
            raise AssertionError(f"after all was mended these did not go on: {sorted(missing)}") from None

    def end(self, within=30.0):
        """All end by themselves; who does not is killed, which the checker sees."""
        self._over.set()
        self._thread.join(60)
        self.stop_path.touch()
        runs = [(job, run) for job in self.jobs for run in job.runs]
        try:
            eventually(lambda: not any(run.alive or run.group_alive() for _, run in runs), within, "all programs end when asked")
        except AssertionError as error:
            left = [run.name for _, run in runs if run.group_alive()]
            raise AssertionError(f"{error}: {left}") from None
        finally:
            for job, run in runs:
                run.kill()
                if run.process.poll() is not None:
                    self._ended(job, run)
