"""What holds for every workload: which errors there may be, nothing hangs, nothing crashes, nothing late."""
import errno
import signal

from .world import Violation

NAMES = {errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EPERM}
# Errnos that are answers to be expected: whether each is right, the workload's own check says.
ANSWERS = {"names": {op: NAMES for op in ("create", "unlink", "rename", "link", "mkdir", "rmdir")}, "stranger": {"intrude": {errno.EBUSY}}}
# Operations with an effect that nobody may see once the instance is granted elsewhere.
CHANGES = {"bank": {"transfer"}, "append": {"append", "mark"}, "config": {"create", "write", "publish", "unlink", "link"},
           "names": {"create", "fill", "unlink", "link", "mkdir", "rmdir"}}   # a rename may do nothing: checks/names.py


def check_errors(world, excuses):
    """Programs on nodes that nothing happened to see pauses only; those that lost what they had see ESTALE only."""
    for process in world.processes:
        answers = ANSWERS.get(process.workload, {})
        for op in process.ops:
            if op.err is None or op.err in answers.get(op.name, ()):
                continue
            allowed = excuses.allowed(process, op.end) | excuses.torn(op)
            if op.err not in allowed:
                told = f"; allowed would be {sorted(errno.errorcode[number] for number in allowed)}" if allowed else ""
                yield Violation("error", f"{op}{told}", op.end)


def check_ends(world, excuses):
    """Every program that nobody killed ended when it was asked to, or at an error; none crashed."""
    for process in world.processes:
        last = process.ops[-1] if process.ops else None
        failed = last is not None and last.err is not None
        by_signal = process.status is not None and process.status < 0 and process.run == process.name
        if process.killed is not None or process.finished or failed:
            continue
        if by_signal and -process.status == signal.SIGBUS and excuses.allowed(process, process.ended):
            continue   # a mapped page of a fenced incarnation
        if by_signal:
            yield Violation("crash", f"{process.name} on {process.node} ended by signal {-process.status} in {last}", last and last.begin)
        elif last is not None and last.end is None:
            yield Violation("hang", f"never ended: {last}", last.begin)
        else:
            yield Violation("crash", f"{process.name} on {process.node} ended without a word after {last}", last and last.end)


def check_short(world, excuses):
    """A write that says less than all was no atomic one. Where its mount or its session ends under it, the kernel tells of the pages before."""
    for process in world.processes:
        for op in process.ops:
            if op.done and "bytes" in op.told and op.ok != op.told["bytes"] and not excuses.allowed(process, op.end, op.begin):
                yield Violation("short write", str(op), op.end)


def grants(processes):
    """run -> (node, begin, end) of what was granted to it."""
    found = {}
    for process in processes:
        for op in process.done("grant"):
            found[process.run] = (process.node, op.begin, op.end)
    return found


def succession(processes, *, same_node=False):
    """[(earlier run, later run, when)]: the later one's grant began, on another node, after the earlier one's had ended, and ended then.
    On the same node the earlier one has ended before."""
    found = grants(processes)
    return [(one, two, end) for one, (node, _, granted) in found.items() for two, (other, begin, end) in found.items()
            if (same_node or node != other) and granted < begin]


def succession_steps(processes):
    """The grants that went to another node than the one before them."""
    nodes = [node for node, _, _ in sorted(grants(processes).values(), key=lambda grant: grant[2])]
    return [two for one, two in zip(nodes, nodes[1:]) if one != two]


def check_fenced(world, _excuses):
    """T4: whatever a fenced incarnation begins after the grant of its successor is refused."""
    for job, processes in world.paths(*CHANGES).items():
        shut = {}
        for one, _two, when in succession(processes):
            shut[one] = min(when, shut.get(one, when))
        for process in processes:
            for op in process.ops:
                if op.done and op.name in CHANGES[process.workload] and op.begin > shut.get(process.run, float("inf")):
                    yield Violation("late", f"{job} had been granted elsewhere {op.begin - shut[process.run]:.3f} s before: {op}", op.begin)


def check_progress(world, _excuses):
    """After everything was mended each job goes on."""
    healed = next((action["t"] for action in world.did("healed")), None)
    if healed is None:
        return
    for job, processes in world.jobs(*{process.workload for process in world.processes}).items():
        if not any(op.begin > healed and (op.done or op.err in ANSWERS.get(process.workload, {}).get(op.name, ()))
                   for process in processes for op in process.ops):
            yield Violation("no progress", f"{job}: nothing was done after all was mended")


CHECKS = [check_errors, check_ends, check_short, check_fenced, check_progress]
