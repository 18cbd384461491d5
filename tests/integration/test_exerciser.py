"""C1, O7: random reads, writes, truncates, holes and mapped stores of several threads, checked against a model in memory."""
import pytest

# What it prints names the seed, the operation and what differed: the same seed runs the same operations again.
SEED = 20261


def start(scene, node, operations, *options):
    program = scene.lab.programs / "exerciser"
    return node.popen([program, scene.lab.mount_point, "--seed", SEED, "--operations", operations, *options],
                      stdout=-1, stderr=-2, text=True)


def finish(processes, within):
    """One that finds something stops the other: what both say is told."""
    outputs = [process.communicate(timeout=within)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return outputs


def did_everything(output):
    counts = {kind: int(count) for kind, count in (line.rsplit(" ", 1) for line in output.splitlines())}
    return all(counts.get(kind) for kind in ("read", "write", "load", "store", "truncate", "append", "copy", "reopen"))


@pytest.mark.parametrize("operations, within", [
    (20_000, 120), pytest.param(1_000_000, 3000, marks=[pytest.mark.slow, pytest.mark.programs])])
def test_one_node(scene, operations, within):
    """Four threads in ranges of their own, which share pages: what a local disk gives, to the last byte on the server."""
    [output] = finish([start(scene, scene.one, operations, "--store", scene.lab.export)], within)
    assert did_everything(output)


@pytest.mark.parametrize("locks, threads", [("posix", 1), ("ofd", 1), ("ofd", 2)])
@pytest.mark.parametrize("operations, within", [
    (10_000, 240), pytest.param(100_000, 3000, marks=[pytest.mark.slow, pytest.mark.programs])])
def test_two_nodes_under_locks(scene, operations, within, locks, threads):
    """C1: after a granted lock of the file each node sees what the other wrote: with read, mapped, and in the size. OFD locks
    let several threads of a node read together."""
    model = scene.lab.directory / "model"
    shared = ["--locks", locks, "--model", model, "--threads", threads]
    outputs = finish([start(scene, node, operations, *shared, "--first-worker", number * threads)
                      for number, node in enumerate((scene.one, scene.two))], within)
    assert all(did_everything(output) for output in outputs)
    finish([start(scene, scene.one, 0, *shared, "--store", scene.lab.export)], 60)
    assert scene.server.listing("locks") == []
