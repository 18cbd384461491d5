"""What a chaos run left behind, read into memory: the programs' histories, and what was done to them.

A world directory holds `actions.jsonl` (what the runner did, see runner.py), `histories/*.jsonl` (programs/record.py) and `export`, the
files as the server's disk has them in the end. Times are seconds of one clock.
"""
import dataclasses
import json
import pathlib


@dataclasses.dataclass
class Op:
    """One operation of a process. `end` is None if its result is not known."""
    process: "Process"
    name: str
    told: dict
    begin: float
    end: float = None
    err: int = None
    ok: object = None
    text: str = ""

    @property
    def done(self):
        """It went well, and its program was told so."""
        return self.end is not None and self.err is None

    def __str__(self):
        how = ("no result" if self.end is None else f"{self.end - self.begin:.3f} s, " +
               (f"errno {self.err} {self.text}" if self.err is not None else f"ok {self.ok!r}"))
        return f"{self.process.name} ({self.process.workload} on {self.process.node}) {self.name} {self.told or ''}: {how}"


@dataclasses.dataclass
class Process:
    name: str
    run: str
    job: str
    node: str
    instance: str
    workload: str
    path: str                # the file or folder that it works with
    start: float
    ops: list = dataclasses.field(default_factory=list)
    finished: bool = False
    killed: float = None     # when the runner killed it
    status: int = None       # with which its run ended, and when
    ended: float = None

    def done(self, name):
        return [op for op in self.ops if op.name == name and op.done]


@dataclasses.dataclass
class Violation:
    kind: str
    text: str
    time: float = None


@dataclasses.dataclass
class World:
    directory: pathlib.Path
    settings: dict
    processes: list
    actions: list

    @property
    def export(self):
        return self.directory / "export"

    def of(self, *workloads):
        return [process for process in self.processes if process.workload in workloads]

    def paths(self, *workloads):
        """file or folder -> its processes, in the order in which they started."""
        return self._grouped("path", workloads)

    def jobs(self, *workloads):
        """job -> its processes, likewise."""
        return self._grouped("job", workloads)

    def _grouped(self, key, workloads):
        found = {}
        for process in sorted(self.of(*workloads), key=lambda process: process.start):
            found.setdefault(getattr(process, key), []).append(process)
        return found

    def did(self, *names):
        return [action for action in self.actions if action["did"] in names]


def read_lines(path):
    """A line that is not whole was being written when its writer was killed."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1] if line]


def read_process(path):
    lines = read_lines(path)
    if not lines:
        return None
    about = lines.pop(0)
    process = Process(about["process"], about["run"], about["job"], about["node"], about["instance"], about["workload"],
                      about["path"], about["t"])
    for line in lines:
        if "op" in line:
            told = {key: value for key, value in line.items() if key not in ("t", "n", "op")}
            process.ops.append(Op(process, line["op"], told, line["t"]))
        elif "finished" in line:
            process.finished = True
        else:
            op = process.ops[-1]
            op.end, op.err, op.ok, op.text = line["t"], line.get("err"), line.get("ok"), line.get("text", "")
    return process


def read_world(directory):
    directory = pathlib.Path(directory)
    actions = read_lines(directory / "actions.jsonl")
    found = [read_process(path) for path in sorted((directory / "histories").glob("*.jsonl"))]
    processes = sorted((process for process in found if process), key=lambda process: process.start)
    settings = next((action for action in actions if action["did"] == "begin"), {})
    world = World(directory, settings, processes, actions)
    ends = {action["run"]: action for action in world.did("killed")}
    exits = {action["run"]: action for action in world.did("exit")}
    for process in processes:
        process.killed = ends[process.run]["t"] if process.run in ends else None
        if process.run in exits:
            process.status, process.ended = exits[process.run]["status"], exits[process.run]["t"]
    return world
