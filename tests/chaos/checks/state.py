"""Counters under locks, and files without a name: what one operation wrote, the next one finds."""
from .world import Violation

FREE = "-"


def final_counter(path):
    words = path.read_bytes().split()
    return int(words[0]) if len(words) == 3 else None


def check_counter(world, excuses):
    for job, processes in world.paths("counter").items():
        leaves = [op for process in processes for op in process.ops if op.name == "leave"]
        done = [op for op in leaves if op.done]
        by_value = {}
        for op in done:
            if op.told["value"] in by_value:
                yield Violation("counter", f"{job}: two counted to {op.told['value']}: {by_value[op.told['value']]} and {op}", op.end)
            by_value[op.told["value"]] = op
        yield from counter_reads(job, processes)
        yield from counter_holders(job, processes, excuses)
        unknown = len(leaves) - len(done)
        value = final_counter(world.export / job)
        if value is None or not len(done) <= value <= len(done) + unknown:
            yield Violation("counter", f"{job}: {len(done)} were acknowledged, {unknown} more begun, the file says {value}")


def counter_reads(job, processes):
    """Whole, marked as free or by somebody who never left, and never less than what was acknowledged before the read."""
    lost = {process.name for process in processes if process.ops and process.ops[-1].name in ("enter", "check", "leave") and
            not process.ops[-1].done or process.killed is not None}
    left = sorted((op.end, op.told["value"]) for process in processes for op in process.done("leave"))
    reads = sorted((op for process in processes for op in process.done("read")), key=lambda op: op.begin)
    newest, place = 0, 0
    for op in reads:
        while place < len(left) and left[place][0] < op.begin:
            newest, place = max(newest, left[place][1]), place + 1
        if op.ok is None:
            yield Violation("counter", f"{job}: torn: {op}", op.end)
        elif op.ok[1] != FREE and op.ok[1] not in lost:
            yield Violation("counter", f"{job}: locked, but {op.ok[1]} is inside: {op}", op.end)
        elif op.ok[0] < newest:
            yield Violation("counter", f"{job}: {newest} had been acknowledged: {op}", op.end)
    for process in processes:
        for op in process.done("check"):
            entered = next(before for before in reversed(process.ops[:process.ops.index(op)]) if before.name == "enter") \
                if op.ok is None or op.ok[1] != process.name else None
            if entered:
                yield Violation("counter", f"{job}: somebody else wrote while {process.name} had the lock: {op}", op.end)


def held(processes, excuses):
    """(begin, end, process): each time somebody had the lock, from its grant to the begin of the unlock; who may have lost it
    meanwhile, only to its last write that went well."""
    spans = []
    for process in processes:
        since, last = None, None
        for op in process.ops:
            if op.name == "lock" and op.done:
                since, last = op.end, None
            elif op.name == "unlock" and since is not None:
                spans.append((since, last if excuses.allowed(process, op.begin) else op.begin, process))
                since = None
            elif since is not None and op.done and op.name in ("enter", "leave"):
                last = op.begin
        if since is not None:
            spans.append((since, last, process))
    return [span for span in spans if span[1] is not None]


def check_overlap(spans):
    """Pairs of spans that overlap."""
    current = None
    for span in sorted(spans, key=lambda span: span[0]):
        if current and span[0] < current[1]:
            yield current, span
        if not current or span[1] > current[1]:
            current = span


def counter_holders(job, processes, excuses):
    for one, two in check_overlap(held(processes, excuses)):
        begin, end = two[0], min(one[1], two[1])
        yield Violation("lock", f"{job}: {one[2].name} on {one[2].node} and {two[2].name} on {two[2].node} both had the lock for "
                        f"{end - begin:.4f} s", begin)


def check_temp(world, _excuses):
    for process in world.of("temp"):
        blocks, sizes, unlinked = {}, {}, set()
        for op in process.ops:
            key, block = op.told.get("key"), op.told.get("block")
            if op.name == "write":
                blocks[key, block] = {op.told["version"]} if op.done else blocks.get((key, block), set()) | {op.told["version"]}
                sizes[key] = max(sizes.get(key, 0), (block + 1) * op.told["bytes"])
            elif op.name in ("unlink", "replace") and op.done and key:
                unlinked.add(key)
            elif op.name == "read" and op.done and op.ok not in blocks.get((key, block), ()):
                yield Violation("temp", f"expected was version {blocks.get((key, block))}: {op}", op.end)
            elif op.name == "stat" and op.done and op.ok != [0 if key in unlinked else 1, sizes[key]]:
                yield Violation("temp", f"expected were no names and {sizes[key]} bytes: {op}", op.end)


CHECKS = [check_counter, check_temp]
