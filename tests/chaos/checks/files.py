"""Bank, append log, replaced file and strangers: what their histories promise against what is on the disk."""
import collections
import re
import shutil
import sqlite3
import tempfile
import zlib
from pathlib import Path

from .general import succession
from .world import Violation

START_BALANCE = 1000


# --- bank -----------------------------------------------------------------------------------------------------------------

def read_bank(path):
    """(integrity, accounts, ledger) of a copy, so that nothing on the disk changes."""
    with tempfile.TemporaryDirectory() as directory:
        for file in path.parent.glob(path.name + "*"):
            shutil.copy(file, directory)
        base = sqlite3.connect(Path(directory) / path.name)
        try:
            check = base.execute("PRAGMA integrity_check").fetchone()[0]
            accounts = dict(base.execute("SELECT number, balance FROM account"))
            ledger = base.execute("SELECT process, seq, source, target, amount FROM ledger ORDER BY place").fetchall()
            return check, accounts, ledger
        finally:
            base.close()


def check_bank(world, _excuses):
    for job, processes in world.paths("bank").items():
        if not any(process.done("connect") for process in processes):
            continue
        try:
            integrity, accounts, ledger = read_bank(world.export / job)
        except sqlite3.Error as error:
            yield Violation("bank", f"{job}: the database cannot be read: {error}")
            continue
        if integrity != "ok":
            yield Violation("bank", f"{job}: integrity_check says {integrity}")
        yield from bank_sums(job, accounts, ledger)
        yield from bank_lines(job, processes, ledger)
        yield from bank_looks(job, processes, len(accounts))


def bank_sums(job, accounts, ledger):
    balances = dict.fromkeys(accounts, START_BALANCE)
    for _process, _seq, source, target, amount in ledger:
        balances[source] -= amount
        balances[target] += amount
    if sum(accounts.values()) != START_BALANCE * len(accounts):
        yield Violation("bank", f"{job}: the sum is {sum(accounts.values())}, not {START_BALANCE * len(accounts)}")
    if balances != accounts:
        yield Violation("bank", f"{job}: accounts and ledger disagree")


def bank_lines(job, processes, ledger):
    begun = {(process.name, op.told["seq"]): op for process in processes for op in process.ops if op.name == "transfer"}
    lines = [(name, seq) for name, seq, *_ in ledger]
    for line in [line for line, count in collections.Counter(lines).items() if count > 1]:
        yield Violation("bank", f"{job}: transfer {line} is in the ledger twice")
    for line in set(lines) - set(begun):
        yield Violation("bank", f"{job}: transfer {line} is in the ledger, but was never begun or was rolled back")
    present = set(lines)
    for line, op in begun.items():
        if op.done and line not in present:
            yield Violation("bank", f"{job}: an acknowledged transfer is lost: {op}", op.end)
    yield from order("bank", job, processes, [name for name, _ in lines])


def order(kind, job, processes, makers):
    """Once something of a later incarnation is there, nothing of an earlier one follows."""
    first, last = {}, {}
    runs = {process.name: process.run for process in processes}
    for place, maker in enumerate(makers):
        run = runs.get(maker)
        first.setdefault(run, place)
        last[run] = place
    for one, two, when in succession(processes, same_node=True):
        if one in last and two in first and last[one] > first[two]:
            yield Violation(kind, f"{job}: place {last[one]} is by {one}, although {two} had written at {first[two]} before", when)


def bank_looks(job, processes, accounts):
    for process in processes:
        for op in process.done("look"):
            if op.ok[0] != "ok" or op.ok[1] != START_BALANCE * accounts:
                yield Violation("bank", f"{job}: a program saw {op.ok}: {op}", op.end)
    acknowledged = sorted(op.end for process in processes for op in process.done("transfer"))
    looks = sorted((op for process in processes for op in process.done("look")), key=lambda op: op.begin)
    count = 0
    for op in looks:
        while count < len(acknowledged) and acknowledged[count] < op.begin:
            count += 1
        if op.ok[2] < count:
            yield Violation("bank", f"{job}: {count} transfers were acknowledged, a program saw {op.ok[2]}: {op}", op.end)


# --- append log -----------------------------------------------------------------------------------------------------------

RECORD = re.compile(rb"#(\S+) (\d+) (append|mark) (\d+) ([0-9a-f]{8}):([^#\n]*)(\n?)")
HEAD = re.compile(rb"#(\S+) (\d+) ")


def read_log(data):
    """([(process, seq, kind)], [(place, bytes)] of what is no record)."""
    records, torn, place = [], [], 0
    while place < len(data):
        match = RECORD.match(data, place)
        if match and match[7] and len(match[6]) == int(match[4]) and zlib.crc32(match[6]) == int(match[5], 16):
            records.append((match[1].decode(), int(match[2]), match[3].decode()))
            place = match.end()
            continue
        following = data.find(b"#", place + 1)
        following = len(data) if following < 0 else following
        torn.append((place, data[place:following]))
        place = following
    return records, torn


def check_append(world, excuses):
    for job, processes in world.paths("append").items():
        records, torn = read_log((world.export / job).read_bytes())
        begun = {(process.name, op.told["seq"]): op for process in processes for op in process.ops if op.name in ("append", "mark")}
        seen = set()
        for maker, seq, _kind in records:
            if (maker, seq) in seen:
                yield Violation("append", f"{job}: record {seq} of {maker} is there twice: {begun.get((maker, seq))}")
            if (maker, seq) not in begun:
                yield Violation("append", f"{job}: record {seq} of {maker} was never written")
            seen.add((maker, seq))
        for key, op in begun.items():
            if op.done and key not in seen:
                yield Violation("append", f"{job}: an acknowledged record is lost: {op}", op.end)
        for place, data in torn:
            yield from torn_record(job, place, data, begun, excuses)
        yield from order("append", job, processes, [maker for maker, _, _ in records])
        yield from own_order(job, records)


def torn_record(job, place, data, begun, excuses):
    """A part of a record may only be of one whose writer, or its mount, was killed while it wrote."""
    head = HEAD.match(data)
    op = begun.get((head[1].decode(), int(head[2]))) if head else None
    if op is None or op.done or not (op.process.killed or excuses.allowed(op.process, op.end or float("inf"))):
        yield Violation("append", f"{job}: {len(data)} bytes at {place} are no record: {data[:60]!r}... of {op}", op and op.begin)


def own_order(job, records):
    """A process appends one after the other."""
    last = {}
    for maker, seq, _kind in records:
        if seq < last.get(maker, 0):
            yield Violation("append", f"{job}: record {seq} of {maker} is behind its {last[maker]}")
        last[maker] = max(seq, last.get(maker, 0))


# --- replaced file --------------------------------------------------------------------------------------------------------

def check_config(world, _excuses):
    for job, processes in world.paths("config").items():
        readers = world.paths("reader").get(job, [])
        reads = [op for process in [*processes, *readers] for op in process.done("read")]
        published = [op for process in processes for op in process.done("publish")]
        makers = {}
        for op in published:
            makers.setdefault(op.told["generation"], set()).add(op.process.name)
        for op in reads:
            if op.ok is None:
                yield Violation("config", f"{job}: a version that is not whole: {op}", op.end)
            elif op.ok[0]:
                makers.setdefault(op.ok[0], set()).add(op.ok[1])
        for generation, found in makers.items():
            if len(found) > 1:
                yield Violation("config", f"{job}: generation {generation} is by several: {sorted(found)}")
        yield from backwards(job, published, [op for op in reads if op.ok])
        yield from final_version(world, job, published)


def backwards(job, published, reads):
    """No read finds an older version than one that was acknowledged, or read, before it began."""
    known = sorted([(op.end, op.told["generation"], op) for op in published] + [(op.end, op.ok[0], op) for op in reads], key=lambda e: e[0])
    newest, place, witness = 0, 0, None
    for op in sorted(reads, key=lambda op: op.begin):
        while place < len(known) and known[place][0] < op.begin:
            if known[place][1] > newest:
                newest, witness = known[place][1], known[place][2]
            place += 1
        if op.ok[0] < newest:
            yield Violation("config", f"{job}: generation {op.ok[0]} after {newest}: {op}; before it: {witness}", op.end)


def final_version(world, job, published):
    head = (world.export / job / "current").read_bytes().partition(b"\n")[0].split()
    newest = max((op.told["generation"] for op in published), default=0)
    if not head or int(head[0]) < newest:
        yield Violation("config", f"{job}: generation {newest} was published, the file in the end is {head}")


# --- strangers ------------------------------------------------------------------------------------------------------------

def check_strangers(world, _excuses):
    """O2: nobody else opens for writing what an instance has open for writing."""
    holds = {}
    for job, processes in world.paths("append").items():
        for process in processes:
            opened = next((op.end for op in process.ops if op.name == "grant" and op.done), None)
            if process.instance and opened is not None:
                holds.setdefault(job, []).append((process, opened, max((op.begin for op in process.ops if op.done), default=opened)))
    for process in world.of("stranger"):
        for op in process.done("intrude"):
            for holder, begin, end in holds.get(op.told["path"], ()):
                if begin < op.begin and op.end < end:
                    yield Violation("claim", f"{holder.name} on {holder.node} held it all the time: {op}", op.end)


CHECKS = [check_bank, check_append, check_config, check_strangers]
