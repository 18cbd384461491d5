"""Which errors a program may see, by the rules (docs/semantics.md), not by how they are kept.

A program on a node that was neither frozen, nor cut off, nor lost its mount, and whose instance lives nowhere else, sees pauses only.
"""
import dataclasses
import errno

FENCED = frozenset({errno.ESTALE})
MOUNT_GONE = frozenset({errno.ESTALE, errno.ENOTCONN, errno.ECONNABORTED})
CHANGES_OF_NAMES = frozenset({"publish", "create", "link", "unlink", "rename", "mkdir", "rmdir", "replace", "make"})
# A node hears of what it lost only some time after it is back (T7): so long a program that starts there may still be refused.
HEARS_WITHIN = 2.0
# Breaks that follow each other so quickly may be one for the session.
BREATH = 1.0


@dataclasses.dataclass
class Loss:
    """From `begin` on what a node's programs had may be lost; who starts after `end` has nothing to do with it."""
    begin: float
    end: float
    errors: frozenset


def spans(world, begin_with, end_with):
    """node -> [(begin, end)] of pairs of actions."""
    found, open_since = {}, {}
    for action in world.actions:
        if action["did"] in begin_with:
            open_since[action["node"]] = action["t"]
        elif action["did"] in end_with and action["node"] in open_since:
            found.setdefault(action["node"], []).append((open_since.pop(action["node"]), action["end"]))
    for node, begin in open_since.items():
        found.setdefault(node, []).append((begin, float("inf")))
    return found


class Downtime:
    """When the server could not be asked."""

    def __init__(self, world):
        self.spans = []
        for action in world.did("server-kill", "server-up"):
            if action["did"] == "server-kill":
                self.spans.append([action["t"], float("inf")])
            elif self.spans:
                self.spans[-1][1] = action["end"]

    def within(self, begin, end):
        """The seconds of it in this time."""
        return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in self.spans)


def merged(breaks, downtime):
    """Breaks of one node, those that follow each other too quickly for its session to be resumed as one."""
    result = []
    for begin, end in sorted(breaks):
        if result and begin - result[-1][1] - 1.5 * downtime.within(result[-1][1], begin) < BREATH:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


class Excuses:
    def __init__(self, world):
        lease = world.settings["lease"]
        self.downtime = Downtime(world)
        self._heard = {}
        self.losses = {}
        for node, breaks in spans(world, ("cut", "freeze"), ("mend", "thaw")).items():
            for begin, end in merged(breaks, self.downtime):
                if end - begin > lease / 2:
                    self.losses.setdefault(node, []).append(Loss(begin, self.heard(end), FENCED))
        for node, gone in spans(world, ("mount-kill",), ("mount",)).items():
            for begin, end in gone:
                self.losses.setdefault(node, []).append(Loss(begin, self.heard(end), MOUNT_GONE))
        self.fences = self._fences(world)

    def heard(self, end):
        """The moment at which a node that was back at `end` knows what it missed: the server's time away does not count."""
        if end == float("inf"):
            return end
        if end not in self._heard:
            moment = end
            while moment - end - self.downtime.within(end, moment) * 1.5 < HEARS_WITHIN and moment < end + 600:
                moment += 0.05
            self._heard[end] = moment
        return self._heard[end]

    def _fences(self, world):
        """(instance, node) -> [(run, begin, until when the node may not have heard)] of what was granted on another node. What
        failed there may have been granted, too: its mount or its session ended before it heard."""
        found = {}
        nodes = {process.node for process in world.processes}
        for process in world.processes:
            for op in process.ops if process.instance else ():
                if op.name == "grant":
                    for node in nodes - {process.node}:
                        heard = float("inf") if op.end is None else self.heard(self._back(node, op.end))
                        found.setdefault((process.instance, node), []).append((process.run, op.begin, heard))
        return found

    def _back(self, node, moment):
        """When the node could be told of what was granted at the moment: at once, or when a break was over."""
        return max([moment, *(loss.end for loss in self.losses.get(node, ()) if loss.begin <= moment <= loss.end)])

    def allowed(self, process, moment, since=None):
        """The errnos that an operation of the process which ended at the moment may have. `since`: only for what happened, or was not
        over, after that."""
        errors = set()
        first = process.start if since is None else since
        for loss in self.losses.get(process.node, ()):
            if loss.begin <= moment and first <= loss.end:
                errors |= loss.errors
        for run, begin, heard in self.fences.get((process.instance, process.node), ()):
            if run != process.run and begin <= moment and first <= heard:
                errors |= FENCED
        return errors

    def torn(self, op):
        """The errnos beside those that a change of names may have if it was under way when its node lost what it had. It may have been
        done, and the kernel repeats it when it hears ESTALE (T10)."""
        return {errno.ENOENT, errno.EEXIST} if op.name in CHANGES_OF_NAMES and self.allowed(op.process, op.end, op.begin) else set()
