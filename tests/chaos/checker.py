#!/usr/bin/python3
"""Judges a chaos run by its histories and the files it left; it knows the rules and nothing of how they are kept.

usage: checker.py DIRECTORY      (see checks/world.py) prints violations; exit code 1 if there are any
"""
import sys

from checks import files, general, names, state
from checks.excuses import Downtime, Excuses
from checks.world import read_world

CHECKS = [*general.CHECKS, *files.CHECKS, *names.CHECKS, *state.CHECKS]
AROUND = 2.0     # seconds before and after a violation of which the actions are shown
WAITS = ("lock", "intrude")   # operations that wait for other programs


def violations(world):
    excuses = Excuses(world)
    return [found for check in CHECKS for found in check(world, excuses)]


def around(world, moment):
    """What was done to the daemons and nodes about then, a line each."""
    if moment is None:
        return []
    zero = world.settings["t"]
    return [f"    {action['t'] - zero:9.3f} s  " + " ".join(f"{key}={value}" for key, value in action.items() if key not in ("t", "end"))
            for action in world.actions if moment - AROUND <= action["t"] <= moment + AROUND / 4 and action["did"] != "begin"]


def report(world, found, most=20):
    zero = world.settings["t"]
    for violation in found[:most]:
        when = "" if violation.time is None else f" at {violation.time - zero:.3f} s"
        yield f"VIOLATION [{violation.kind}]{when}: {violation.text}"
        yield from around(world, violation.time)
    if len(found) > most:
        yield f"... and {len(found) - most} more"


def undisturbed(world):
    """Operations that only the server's absence could hold up: of nodes and times to which nothing else happened."""
    excuses = Excuses(world)
    breaks = {}
    for action in world.did("cut", "freeze", "mount-kill", "mend", "thaw", "mount"):
        breaks.setdefault(action["node"], []).append((action["t"], action.get("end", action["t"]), action["did"]))
    for process in world.processes:
        moments = [t for t, _end, _did in breaks.get(process.node, ())]
        for op in process.ops:
            if op.done and op.name not in WAITS and op.name != "grant" and not excuses.allowed(process, op.end) and not any(
                    op.begin - 3 < t < op.end for t in moments):
                yield op


def pauses(world):
    """For each time the server was away: the longest operation that it held up."""
    result = [0.0] * len(spans := Downtime(world).spans)
    slow = sorted(((op.begin, op.end) for op in undisturbed(world) if op.end - op.begin > 0.005))
    for begin, end in slow:
        for number, (down, up) in enumerate(spans):
            if begin < up and end > down:
                result[number] = max(result[number], end - begin)
    return sorted(result)


def percentile(values, part):
    return values[min(len(values) - 1, round(part * (len(values) - 1)))] if values else 0.0


def summary(world, found):
    count = {name: len(world.did(name)) for name in ("server-kill", "cut", "freeze", "mount-kill")}
    moves = sum(len(general.succession_steps(processes)) for processes in world.paths(*general.CHANGES).values())
    done = sum(op.end is not None for process in world.processes for op in process.ops)
    held_up = pauses(world)
    return (f"{count['server-kill']} kills, {count['cut']} cuts, {count['freeze']} freezes, {count['mount-kill']} mounts killed, {moves} takeovers, "
            f"{done} operations; longest pause at a kill p50 {percentile(held_up, .5) * 1000:.0f} p99 {percentile(held_up, .99) * 1000:.0f} "
            f"max {percentile(held_up, 1) * 1000:.0f} ms; {len(found)} violations")


def main(directory):
    world = read_world(directory)
    found = violations(world)
    for line in report(world, found):
        print(line)
    print(summary(world, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
