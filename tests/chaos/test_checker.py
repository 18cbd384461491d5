"""The checker finds each kind of violation that is planted in a history, and none in a history that keeps the rules."""
import errno
import json
import sqlite3
import sys
import zlib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import checker  # noqa: E402
from checks.world import read_world  # noqa: E402

LEASE = 3.0
END = 100.0


class Story:
    """Writes a world directory: histories, actions and files."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "histories").mkdir()
        self.export = directory / "export"
        self.export.mkdir()
        self.lines = []
        self.did("begin", 0.0, lease=LEASE, seed="planted")

    def did(self, what, begin, end=None, **told):
        self.lines.append({"t": begin, "end": begin if end is None else end, "did": what, **told})
        return self

    def process(self, workload, node="one", path="file", start=1.0, instance=None, run=None):
        return Teller(self, run or f"{workload}@{node}-{len(list((self.directory / 'histories').iterdir()))}", workload, node, path, start, instance)

    def found(self):
        (self.directory / "actions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sorted(self.lines, key=lambda line: line["t"])))
        world = read_world(self.directory)
        found = checker.violations(world)
        assert list(checker.report(world, found)) and checker.summary(world, found) if found else True
        return [violation.kind for violation in found]


class Teller:
    """The history of one process. Operations take 1 ms unless said otherwise and follow each other."""

    def __init__(self, story, run, workload, node, path, start, instance):
        self.name = run
        self._path = story.directory / "histories" / f"{run}.jsonl"
        self._number = 0
        self.now = start
        self._put(t=start, process=run, run=run, job=run.rpartition("-")[0], node=node, instance=instance, workload=workload, path=path)

    def _put(self, **line):
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def op(self, name, /, ok=None, err=None, at=None, took=0.001, **told):
        self._number += 1
        begin = self.now + 0.001 if at is None else at
        self._put(t=begin, n=self._number, op=name, **told)
        self.now = begin if took is None else begin + took
        if took is not None:
            self._put(t=self.now, n=self._number, **({"ok": ok} if err is None else {"err": err, "text": "planted"}))
        return self

    def end(self):
        self._put(t=self.now, finished=True)
        return self


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def reader(story, node="one", **more):
    """A process of which only its errors matter."""
    return story.process("other", node, **more)


# --- errors -----------------------------------------------------------------------------------------------------------------

def test_error_on_a_node_that_nothing_happened_to(story):
    story.did("server-kill", 4.0).did("server-up", 4.1, 4.3)
    reader(story).op("write", err=errno.ESTALE, at=5.0)
    assert story.found() == ["error"]


def test_a_short_break_excuses_nothing(story):
    story.did("cut", 4.0, node="one").did("mend", 5.0, node="one")
    reader(story).op("write", err=errno.ESTALE, at=5.1)
    assert story.found() == ["error"]


@pytest.mark.parametrize("begin, end", [("cut", "mend"), ("freeze", "thaw")])
def test_a_long_break_excuses_estale_only(story, begin, end):
    story.did(begin, 4.0, node="one").did(end, 12.0, node="one")
    reader(story).op("write", err=errno.ESTALE, at=12.1)
    assert story.found() == []
    reader(story).op("write", err=errno.EIO, at=12.1)
    assert story.found() == ["error"]


def test_a_break_of_another_node_excuses_nothing(story):
    story.did("freeze", 4.0, node="two").did("thaw", 12.0, node="two")
    reader(story).op("write", err=errno.ESTALE, at=12.1)
    assert story.found() == ["error"]


def test_a_program_that_started_after_the_break_has_no_excuse(story):
    story.did("cut", 4.0, node="one").did("mend", 12.0, node="one")
    reader(story, start=20.0).op("write", err=errno.ESTALE)
    assert story.found() == ["error"]


def test_a_dead_mount_is_excused_until_there_is_a_new_one(story):
    story.did("mount-kill", 4.0, node="one").did("mount", 4.5, 4.6, node="one")
    reader(story).op("write", err=errno.ENOTCONN, at=4.7)
    assert story.found() == []
    reader(story, start=9.0).op("write", err=errno.ENOTCONN)
    assert story.found() == ["error"]


def test_a_program_that_moved_gets_estale_only(story):
    story.did("nothing", 0)
    reader(story, instance="x").op("grant").op("write", err=errno.ESTALE, at=6.0)
    reader(story, "two", instance="x", start=5.0).op("grant").end()
    assert story.found() == []
    reader(story, instance="x").op("grant", at=1.5).op("write", err=errno.EIO, at=6.0)
    assert story.found() == ["error"]


def test_a_grant_that_nobody_heard_of_fences_too(story):
    reader(story, instance="x").op("grant").op("write", err=errno.ESTALE, at=6.0)
    story.did("mount-kill", 5.5, node="two").did("mount", 5.6, node="two")
    reader(story, "two", instance="x", start=5.0).op("grant", err=errno.ENOTCONN, took=0.6)
    assert story.found() == []


def test_an_instance_that_did_not_move_is_not_fenced(story):
    reader(story, instance="x").op("grant").op("write", err=errno.ESTALE, at=6.0)
    reader(story, "two", instance="y", start=5.0).op("grant").end()
    assert story.found() == ["error"]


def test_hang(story):
    reader(story).op("write", took=None)
    assert story.found() == ["hang"]


def test_a_killed_program_may_leave_an_operation_open(story):
    program = reader(story).op("write", took=None)
    story.did("killed", 3.0, run=program.name, node="one")
    assert story.found() == []


def test_crash(story):
    program = reader(story).op("write")
    story.did("exit", 3.0, run=program.name, node="one", status=-11)
    reader(story).op("write")
    assert story.found() == ["crash", "crash"]


def test_sigbus_of_a_fenced_program(story):
    program = reader(story, instance="x").op("grant").op("write", at=6.0, took=None)
    story.did("exit", 6.5, run=program.name, node="one", status=-7)
    assert story.found() == ["crash"]
    reader(story, "two", instance="x", start=5.0).op("grant").end()
    assert story.found() == []


def test_short_write(story):
    reader(story).op("write", ok=5, bytes=6).end()
    assert story.found() == ["short write"]


def test_no_progress(story):
    story.did("healed", 50.0)
    reader(story).op("write").end()
    assert story.found() == ["no progress"]


# --- bank -------------------------------------------------------------------------------------------------------------------

def bank(story, lines, *, spoil=None):
    """A database with these (process, seq), each a transfer of 5 from account 0 to account 1."""
    base = sqlite3.connect(story.export / "file")
    base.execute("CREATE TABLE account (number INTEGER PRIMARY KEY, balance INTEGER)")
    base.execute("CREATE TABLE ledger (place INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT, seq INTEGER, source INTEGER, target INTEGER, "
                 "amount INTEGER)")
    base.executemany("INSERT INTO account VALUES (?, ?)", [(0, 1000 - 5 * len(lines)), (1, 1000 + 5 * len(lines))])
    base.executemany("INSERT INTO ledger (process, seq, source, target, amount) VALUES (?, ?, 0, 1, 5)", lines)
    if spoil:
        base.execute(spoil)
    base.commit()
    base.close()


def banker(story, transfers, node="one", start=1.0, ended=True, before=0):
    program = story.process("bank", node, start=start, instance="x", run=f"bank-{node}-{start}").op("grant").op("connect").op(
        "look", ok=["ok", 2000, before])
    for number in range(1, transfers + 1):
        program.op("transfer", seq=number)
    return program.end() if ended else program


def test_bank_that_is_right(story):
    one = banker(story, 2, ended=False).op("transfer", took=None, seq=3)
    story.did("killed", 3.0, run=one.name, node="one")
    bank(story, [(one.name, 1), (one.name, 2), (one.name, 3)])
    assert story.found() == []


@pytest.mark.parametrize("lines", [[1], [1, 2, 2], [1, 2, 7]], ids=["lost", "twice", "never-begun"])
def test_bank_ledger(story, lines):
    one = banker(story, 2)
    bank(story, [(one.name, seq) for seq in lines])
    assert story.found() == ["bank"]


@pytest.mark.parametrize("spoil", ["UPDATE account SET balance = balance + 1 WHERE number = 0", "UPDATE ledger SET amount = 6 WHERE place = 1"])
def test_bank_sums(story, spoil):
    one = banker(story, 2)
    bank(story, [(one.name, 1), (one.name, 2)], spoil=spoil)
    assert set(story.found()) == {"bank"}


def test_bank_that_is_corrupt(story):
    one = banker(story, 2)
    bank(story, [(one.name, 1), (one.name, 2)])
    data = bytearray((story.export / "file").read_bytes())
    data[4096:4200] = bytes(104)
    (story.export / "file").write_bytes(data)
    assert story.found()[0] == "bank"


def test_bank_seen_wrong(story):
    one = banker(story, 2, ended=False).op("look", ok=["ok", 1995, 2]).op("look", ok=["ok", 2000, 1]).end()
    bank(story, [(one.name, 1), (one.name, 2)])
    assert story.found() == ["bank", "bank"]


def test_bank_late_commit(story):
    one = banker(story, 2)
    two = banker(story, 1, node="two", start=5.0, before=2)
    bank(story, [(one.name, 1), (two.name, 1), (one.name, 2)])
    assert story.found() == ["bank"]


def test_success_after_the_grant_elsewhere(story):
    one = banker(story, 1, ended=False).op("transfer", at=8.0, seq=2).end()
    two = banker(story, 1, node="two", start=5.0, before=1)
    bank(story, [(one.name, 1), (one.name, 2), (two.name, 1)])
    assert story.found() == ["late"]


# --- append log -------------------------------------------------------------------------------------------------------------

def record(maker, seq, kind="append", size=10):
    payload = ("x" * size).encode()
    return f"#{maker} {seq} {kind} {size} {zlib.crc32(payload):08x}:".encode() + payload + b"\n"


def appender(story, appends, node="one", start=1.0, ended=True):
    program = story.process("append", node, start=start, instance="x", run=f"append-{node}-{start}").op("grant").op("mark", seq=1)
    for seq in range(2, appends + 2):
        program.op("append", seq=seq)
    return program.end() if ended else program


def log_of(story, *records):
    (story.export / "file").write_bytes(b"".join(records))


def test_log_that_is_right(story):
    one = appender(story, 1)
    two = appender(story, 1, "two", 5.0, ended=False).op("append", took=None, seq=3)
    story.did("killed", 6.0, run=two.name, node="two")
    records = [record(one.name, 1, "mark"), record(one.name, 2), record(two.name, 1, "mark"), record(two.name, 2)]
    log_of(story, *records, record(two.name, 3, size=90)[:60])
    assert story.found() == []
    log_of(story, *records, record(two.name, 3))
    assert story.found() == []


def test_log_lost_twice_and_invented(story):
    one = appender(story, 2)
    mark, first, second = (record(one.name, 1, "mark"), record(one.name, 2), record(one.name, 3))
    for records in ([mark, first], [mark, first, second, second], [mark, first, second, record(one.name, 4)], [mark, second, first]):
        log_of(story, *records)
        assert story.found() == ["append"]


def test_log_torn(story):
    one = appender(story, 2)
    log_of(story, record(one.name, 1, "mark"), record(one.name, 2, size=50)[:40], record(one.name, 2), record(one.name, 3))
    assert story.found() == ["append"]


def test_log_late_record(story):
    one, two = appender(story, 1), appender(story, 1, "two", 5.0)
    log_of(story, record(one.name, 1, "mark"), record(two.name, 1, "mark"), record(one.name, 2), record(two.name, 2))
    assert story.found() == ["append"]


def test_stranger_inside_a_claim(story):
    one = appender(story, 1, ended=False).op("append", at=9.0, seq=3).end()
    log_of(story, record(one.name, 1, "mark"), record(one.name, 2), record(one.name, 3))
    story.process("stranger", "two").op("intrude", err=errno.EBUSY, at=5.0, path="file").op("intrude", at=12.0, path="file").end()
    assert story.found() == []
    story.process("stranger", "three").op("intrude", at=5.0, path="file").end()
    assert story.found() == ["claim"]


# --- replaced file ----------------------------------------------------------------------------------------------------------

def config(story, generations, final, node="one", start=1.0):
    program = story.process("config", node, start=start, instance="x", run=f"config-{node}-{start}").op("grant").op("read", ok=[0, "-"])
    for generation in generations:
        program.op("publish", generation=generation)
    (story.export / "file").mkdir(exist_ok=True)
    (story.export / "file" / "current").write_text(f"{final} someone 0 00000000\n")
    return program.end()


def test_config_that_is_right(story):
    one = config(story, [1, 2], 2)
    story.process("reader", "two").op("read", ok=[0, "-"], at=1.001).op("read", ok=[1, one.name], took=0.1).op("read", ok=[2, one.name]).end()
    assert story.found() == []


@pytest.mark.parametrize("read", [None, [1, "config-one-1.0"], [2, "somebody"]], ids=["torn", "backwards", "another's"])
def test_config_read(story, read):
    config(story, [1, 2], 2)
    story.process("reader", "two", start=3.0).op("read", ok=read).end()
    assert story.found() == ["config"]


def test_config_goes_back_between_readers(story):
    one = config(story, [1], 2)
    story.process("reader", "two", start=3.0).op("read", ok=[2, one.name]).end()
    story.process("reader", "three", start=4.0).op("read", ok=[1, one.name]).end()
    assert story.found() == ["config"]


def test_config_lost_in_the_end(story):
    config(story, [1, 2], 1)
    assert story.found() == ["config"]


# --- names ------------------------------------------------------------------------------------------------------------------

def namer(story, start=1.0, node="one", instance=None):
    program = story.process("names", node, start=start, instance=instance, run=f"names-{node}-{start}")
    return program.op("grant") if instance else program.op("make")


def on_disk(story, folder, **files):
    path = story.export / "file" / folder
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if text is None:
            (path / name).mkdir()
        else:
            (path / name).write_text(text)


def test_names_that_are_right(story):
    program = namer(story).op("list", ok=[]).op("create", name="a", id="1").op("link", name="a", to="b").op("rename", name="a", to="b")
    program.op("create", err=errno.EEXIST, name="a", id="2").op("mkdir", name="c").op("rename", err=errno.EISDIR, name="a", to="c")
    program.op("link", err=errno.EPERM, name="c", to="d").op("unlink", err=errno.EISDIR, name="c").op("rmdir", err=errno.ENOTDIR, name="a")
    program.op("rename", name="b", to="d").op("unlink", err=errno.ENOENT, name="b").op("list", ok=["a", "c", "d"])
    program.op("unlink", name="a", took=None)
    story.did("killed", 3.0, run=program.name, node="one")
    on_disk(story, program.name, c=None, d="1")
    assert story.found() == []
    on_disk(story, program.name, a="1")
    assert story.found() == []


@pytest.mark.parametrize("op, answer, told", [
    ("create", errno.EEXIST, {"name": "b", "id": "2"}), ("create", None, {"name": "a", "id": "2"}), ("unlink", errno.ENOENT, {"name": "a"}),
    ("rename", errno.ENOENT, {"name": "a", "to": "b"}), ("link", errno.EEXIST, {"name": "a", "to": "b"}), ("rename", None, {"name": "b", "to": "a"})])
def test_names_answer_that_cannot_be(story, op, answer, told):
    program = namer(story).op("create", name="a", id="1").op(op, err=answer, **told).end()
    on_disk(story, program.name)
    assert story.found() == ["names"]


@pytest.mark.parametrize("files", [{}, {"a": "1"}, {"b": "2"}, {"b": "1", "c": "1"}], ids=["lost", "not-renamed", "content", "invented"])
def test_names_in_the_end(story, files):
    program = namer(story).op("create", name="a", id="1").op("rename", name="a", to="b").end()
    on_disk(story, program.name, **files)
    assert story.found() == ["names"]


def test_names_moved(story):
    namer(story, instance="x").op("create", name="a", id="1").op("rename", err=errno.ESTALE, name="a", to="b", took=6.0)
    namer(story, 5.0, "two", "x").op("list", ok=["a"]).op("unlink", name="a").end()
    on_disk(story, ".")
    assert story.found() == []
    on_disk(story, ".", b="1")       # the rename of the old incarnation, late
    assert story.found() == ["names"]


def test_names_seen_late_by_the_successor(story):
    namer(story, instance="x").op("create", name="a", id="1").op("rename", err=errno.ESTALE, name="a", to="b", took=6.0)
    namer(story, 5.0, "two", "x").op("list", ok=["a"]).op("unlink", err=errno.ENOENT, name="a").end()
    on_disk(story, ".", b="1")
    assert story.found() == ["names"]


def test_names_granted_at_the_same_time(story):
    """Two were granted while both waited: who can change something afterwards was the later one."""
    first = namer(story, 4.0, "one", "x").op("list", ok=[]).op("create", err=errno.ESTALE, name="b", id="2").now
    two = story.process("names", "two", start=1.0, instance="x", run="names-two").op("grant", at=1.0, took=3.0015)
    two.op("list", ok=[]).op("create", at=first + 1, name="a", id="1").end()
    on_disk(story, ".", a="1")
    assert story.found() == []


# --- counters ---------------------------------------------------------------------------------------------------------------

def counter(story, node="one", start=1.0):
    return story.process("counter", node, start=start, run=f"counter-{node}-{start}").op("open")


def counts(program, value, **unlock):
    name = program.name
    program.op("lock").op("read", ok=[value, "-"]).op("enter", value=value).op("check", ok=[value, name]).op("leave", value=value + 1)
    return program.op("unlock", **unlock)


def counter_file(story, value):
    (story.export / "file").write_text(f"{value:012d} - 00000000\n")


def test_counter_that_is_right(story):
    counts(counts(counter(story), 0), 1).end()
    counts(counter(story, "two", 2.0), 2).end()
    counter_file(story, 3)
    assert story.found() == []


def test_counter_lost_update(story):
    counts(counter(story), 0).end()
    counts(counter(story, "two", 2.0), 0).end()
    counter_file(story, 1)
    assert story.found() == ["counter"] * 3   # twice the same, read too little, too little in the end


def test_counter_too_much_in_the_end(story):
    counts(counter(story), 0).end()
    counter_file(story, 2)
    assert story.found() == ["counter"]


def test_counter_torn_and_somebody_inside(story):
    one = counts(counter(story), 0).end()
    counter(story, "two", 2.0).op("lock").op("read", ok=None).op("unlock").end()
    counter(story, "two", 3.0).op("lock").op("read", ok=[1, one.name]).op("unlock").end()
    counter(story, "two", 4.0).op("lock").op("read", ok=[1, "-"]).op("enter", value=1).op("check", ok=[1, one.name]).op(
        "leave", value=2).op("unlock").end()
    counter_file(story, 2)
    assert story.found() == ["counter"] * 3


def test_lock_granted_twice(story):
    counts(counter(story), 0, at=5.0).end()
    counts(counter(story, "two", 2.0), 1).end()
    counter_file(story, 2)
    assert story.found() == ["lock"]


def test_lock_that_was_lost_with_its_session(story):
    """Who was frozen for long finds out at its next request; it is no second holder."""
    counter(story).op("lock").op("read", ok=[0, "-"]).op("enter", value=0).op("leave", err=errno.ESTALE, at=14.0, value=1)
    story.did("freeze", 2.0, node="one").did("thaw", 12.0, node="one")
    counts(counter(story, "two", 8.0), 0).end()
    counter_file(story, 1)
    found = story.found()
    assert found == [], found


def test_late_write_of_who_lost_the_lock(story):
    counter(story).op("lock").op("read", ok=[0, "-"]).op("enter", value=0).op("leave", at=14.0, value=1).op("unlock", err=errno.ESTALE)
    story.did("freeze", 2.0, node="one").did("thaw", 12.0, node="one")
    counts(counter(story, "two", 8.0), 0).end()
    counter_file(story, 1)
    assert "lock" in story.found()


# --- files without a name ---------------------------------------------------------------------------------------------------

def temp(story):
    return story.process("temp").op("create", key="k").op("write", ok=10, key="k", block=0, version=1, bytes=10).op("unlink", key="k")


def test_temp_that_is_right(story):
    temp(story).op("read", ok=1, key="k", block=0).op("stat", ok=[0, 10], key="k").op("close", key="k").end()
    assert story.found() == []


@pytest.mark.parametrize("op, ok", [("read", None), ("read", 7), ("stat", [1, 10]), ("stat", [0, 0])])
def test_temp_content_is_gone(story, op, ok):
    temp(story).op(op, ok=ok, key="k", block=0).end()
    assert story.found() == ["temp"]
