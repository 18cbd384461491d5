"""Names: every answer and every listing is compared with a folder as POSIX has it."""
import errno

from .world import Violation

FOLDER = "folder"


class Folder:
    """name -> FOLDER, or the id of the file, which several names may share."""

    def __init__(self, names=None):
        self.names = dict(names or {})

    def expect(self, op):
        """The errno that it must answer, None if it must go well."""
        name, to = op.told.get("name"), op.told.get("to")
        found, target = self.names.get(name), self.names.get(to)
        if op.name in ("create", "mkdir"):
            return errno.EEXIST if found else None
        if not found:
            return errno.ENOENT
        if op.name == "unlink":
            return errno.EISDIR if found == FOLDER else None
        if op.name == "rmdir":
            return None if found == FOLDER else errno.ENOTDIR
        if op.name == "link":
            return errno.EEXIST if target else errno.EPERM if found == FOLDER else None
        if op.name == "rename" and target and name != to and (found == FOLDER) != (target == FOLDER):
            return errno.EISDIR if target == FOLDER else errno.ENOTDIR
        return None

    def apply(self, op):
        name, to = op.told["name"], op.told.get("to")
        if op.name == "create":
            self.names[name] = op.told["id"]
        elif op.name == "mkdir":
            self.names[name] = FOLDER
        elif op.name in ("unlink", "rmdir"):
            del self.names[name]
        elif op.name == "link":
            self.names[to] = self.names[name]
        elif name != to and (self.names[name] != self.names.get(to) or self.names[name] == FOLDER):
            self.names[to] = self.names.pop(name)   # two names of one file: rename does nothing

    def listing(self):
        return sorted(self.names)


LOST = (errno.ESTALE, errno.ENOTCONN, errno.ECONNABORTED)   # it may or may not have happened
REPEATED = (errno.ENOENT, errno.EEXIST)   # what it may get if it has happened, and the kernel repeats it
CHANGES = ("create", "mkdir", "unlink", "rmdir", "link", "rename")


def check_names(world, excuses):
    for job, processes in world.paths("names").items():
        if processes[0].instance and any(process.done("grant") for process in processes):
            yield from check_moving(world, job, processes, excuses)
        else:
            for process in processes:
                yield from check_alone(world, job, process, excuses)


def check_alone(world, job, process, excuses):
    if not process.done("make"):
        return
    worlds = yield from follow(process, [Folder()], excuses)
    yield from final(world.export / job / process.name, process, worlds)


def check_moving(world, job, processes, excuses):
    """One folder from incarnation to incarnation, in the order of their grants."""
    granted = in_order([process for process in processes if process.done("grant")])
    worlds = [Folder()]
    for process, successor in zip(granted, [*granted[1:], None]):
        shut = successor.done("grant")[0].begin if successor else float("inf")
        worlds = yield from follow(process, worlds, excuses, shut)
        if not worlds:
            return
    if granted:
        yield from final(world.export / job, granted[-1], worlds)


def in_order(granted):
    """By their grants' ends; of two grants that were under way at the same time, the one that could still change something after both
    was the later one."""
    granted = sorted(granted, key=lambda process: process.done("grant")[0].end)
    for place in range(len(granted) - 1):
        one, two = granted[place], granted[place + 1]
        ours, theirs = one.done("grant")[0], two.done("grant")[0]
        if theirs.begin < ours.end and any(op.done and op.name in CHANGES and op.name != "rename" and op.begin > theirs.end for op in one.ops):
            granted[place], granted[place + 1] = two, one
    return granted


def follow(process, worlds, excuses, shut=float("inf")):
    """The folders that are possible after all that the process did, from those possible before; none after a violation. `shut`: from
    then on it may be fenced: it looks into what is another's folder by then, and changes nothing (T4, T10)."""
    for op in process.ops:
        late = op.end is not None and (op.end > shut or bool(excuses.torn(op)))
        if op.name == "list" and op.done and not late:
            left = [folder for folder in worlds if folder.listing() == op.ok]
            if not left:
                yield Violation("names", f"possible was {' or '.join(str(folder.listing()) for folder in worlds)}: {op}", op.end)
                return []
            worlds = left
        if op.name not in CHANGES:
            continue
        after = list({frozenset(folder.names.items()): folder for before in worlds for folder in outcomes(op, before, late)}.values())
        if not after:
            expected = {errno.errorcode.get(folder.expect(op), "success") for folder in worlds}
            yield Violation("names", f"expected was {' or '.join(expected)}, with {worlds[0].names}: {op}", op.end)
            return []
        worlds = after
    return worlds


def outcomes(op, folder, late):
    """What the folder may be after the operation; nothing if its answer cannot be."""
    expected = folder.expect(op)
    changed = Folder(folder.names)
    if expected is None:
        changed.apply(op)
    if op.end is None or op.err in LOST or (late and (op.name == "rename" or op.err in REPEATED)):
        return [folder, changed] if expected is None else [folder]   # a rename of two names of one file does nothing
    if op.err == expected:
        return [changed]
    return [folder] if late and op.err is not None else []


def final(path, process, worlds):
    """What is on the disk in the end is one of the possible folders, and in each file is who created it, or not yet anything."""
    if not worlds:
        return   # told already
    found = {entry.name: FOLDER if entry.is_dir() else entry.read_text() for entry in path.iterdir() if entry.name != "grant"}

    def fits(folder):
        return sorted(found) == folder.listing() and all(
            text == folder.names[name] or (text == "" and folder.names[name] != FOLDER) for name, text in found.items())
    if not any(fits(folder) for folder in worlds):
        yield Violation("names", f"{path.name}: in the end there is {found}, possible is {[folder.names for folder in worlds]}; last {process.ops[-1]}")


CHECKS = [check_names]
