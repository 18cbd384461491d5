"""T4, T5, T6, T7, C3: a thousand takeovers back and forth under load, and not one late byte or name."""
import hashlib
import json
import os
import pathlib

import pytest
from lab import eventually

PROGRAM = pathlib.Path(__file__).parent / "programs" / "storm.py"

# On each node, until the file `stop` is there: starts the program again, a random moment after it ended.
SUPERVISOR = """
import random, subprocess, time
result = set()
while not os.path.exists(stop):
    process = subprocess.Popen(["/usr/bin/python3", "-I", "-S", program, folder, node], env=env, stderr=open(errors, "ab"))
    result.add(process.wait())
    time.sleep(random.random() * 0.05)
"""


def holds(folder):
    """What the folder holds now: name -> [size, hash], as a seal has it."""
    return {file.name: [file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()] for file in sorted(folder.iterdir())}


class Checker:
    """Reads only the files, as the server's disk has them, and the events."""

    def __init__(self, export):
        self.export = export
        self.checked = 0

    def check_sealed(self, *, keep):
        """Compares what is sealed with its seal; removes all but the `keep` newest, so that the disk does not fill."""
        seals = sorted(self.export.glob("by-*.seal"), key=lambda path: path.stat().st_mtime_ns)
        for path in seals[:max(0, len(seals) - keep)]:
            said = json.loads(path.read_text())
            folder = path.with_suffix("")
            assert holds(folder) == said["holds"], f"{folder.name} was changed after {said['by']} had sealed it"
            self.checked += 1
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
            path.rename(self.export.parent / "old.seal")

    def check_ledger(self, events):
        """The ledger's lines come in the order of grants: once another's line is there, none of its forerunner follows."""
        lines = (self.export / "ledger").read_text().split()
        order = [line for before, line in zip([None, *lines], lines) if line != before]
        assert len(order) == len(set(order)), "a late line is in the ledger"
        granted = [f"by-{event['to_node']}-{event['pid']}" for event in events if event["kind"] in ("takeover", "started")]
        places = {name: place for place, name in enumerate(granted)}
        assert [places[name] for name in order] == sorted(places[name] for name in order)


def run_storm(scene, guid, takeovers, within):
    """Lets both nodes fight until so many takeovers have happened; checks what was sealed on the way."""
    directory = scene.lab.directory
    errors = [directory / f"errors-{node.name}" for node in (scene.one, scene.two)]
    calls = [node.python(cwd="/").start_call(
        "run", SUPERVISOR, program=str(PROGRAM), folder=str(scene.lab.mount_point), node=node.name, stop=str(directory / "stop"),
        env=node.environment(instance=guid), errors=str(log)) for node, log in zip((scene.one, scene.two), errors)]
    checker = Checker(scene.lab.export)

    def enough():
        checker.check_sealed(keep=20)
        assert not any(call.done() for call in calls)
        assert all(not log.exists() or not log.read_text() for log in errors), [log.read_text()[-2000:] for log in errors]
        return scene.server.listing("status")[0]["takeovers"] >= takeovers
    eventually(enough, within, f"{takeovers} takeovers")
    (directory / "stop").touch()
    for node, call in zip((scene.one, scene.two), calls):
        eventually(lambda: call.done() or storming(node), 20)  # noqa: B023
        assert call.result() <= {0, -9}
    return checker


@pytest.mark.parametrize("scene", [("--flap-limit", "0", "--reservation", "200ms")], indirect=True)
@pytest.mark.parametrize("takeovers, within", [(30, 120), pytest.param(1000, 400, marks=pytest.mark.slow)])
def test_takeovers_under_load(scene, guid, takeovers, within):
    """T4, T7: each side's program writes in every way, is fenced, and takes over again; the files tell no late byte."""
    checker = run_storm(scene, guid, takeovers, within)
    for node in (scene.one, scene.two):
        eventually(lambda: not storming(node), 20, "the last programs end")  # noqa: B023
    checker.check_sealed(keep=0)
    checker.check_ledger(scene.server.events())
    assert checker.checked >= takeovers / 3
    eventually(lambda: scene.server.listing("status")[0]["handles"] == 0, 20, "no handle is left behind")
    assert scene.server.listing("status")[0]["waiting"] == 0


def storming(node):
    """Programs of the storm that still run on the node; the last of them is fenced by nobody, so it is killed."""
    left = []
    for pid in node.pids():
        try:
            if str(PROGRAM).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 9)
                left.append(pid)
        except OSError:
            pass
    return left
