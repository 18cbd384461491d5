"""Databases, unmodified, with their files on the mount: they run under load, their node ends without a word, and the other
node goes on with everything that was acknowledged (T1, T4, T5, D1). A stranger is refused while they run, and while
nobody has started them again (S2, T9)."""
import errno

import pytest
from lab import eventually, refused
from services import ENDINGS, PYTHON, Load, MariaDb, Postgres, Redis, background

# Of a dead program's claims: strangers that start slowly are to meet them all (S2, T9).
LONG_LEASE = ("--lease", "60s")

SQLITE = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
assert base.execute("PRAGMA journal_mode=" + sys.argv[2]).fetchone()[0] == sys.argv[2]
base.execute("PRAGMA synchronous=FULL")
base.execute("CREATE TABLE IF NOT EXISTS line (number INTEGER PRIMARY KEY, filler BLOB)")
first = base.execute("SELECT coalesce(max(number), 0) + 1 FROM line").fetchone()[0]
with open(sys.argv[3], "a", buffering=1) as acknowledged:
    for number in range(first, 1 << 30):
        base.execute("INSERT INTO line VALUES (?, randomblob(3000))", (number,))
        acknowledged.write(f"{number}\\n")
"""
LOOK = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=20)
assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
print(*base.execute("SELECT count(*), max(number) FROM line").fetchone())
"""


def refuses_strangers(node, other_guid, path):
    """Neither another instance nor a caller without one may write the file; both refusals are the claim's."""
    for who in (other_guid, None):
        stranger = node.python(instance=who)
        with refused(errno.EBUSY):
            stranger.open(path, "rw")
        stranger.kill()


def refuses_to_start(stranger):
    """A database of a stranger ends by itself, and what ended it is the claim."""
    assert stranger.process.wait(60) != 0
    said = stranger.process.log_path.read_text()
    assert "Device or resource busy" in said or "errno: 16" in said, said


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(scene, guid, other_guid, journal, ending):
    """Rollback journal and write-ahead log, whose index is a mapped file that both nodes share."""
    path = scene.at("base.db")
    load = Load(scene.one, "sqlite", [*PYTHON, SQLITE, path, journal], instance=guid).running(20)
    refuses_strangers(scene.two, other_guid, "base.db")
    ENDINGS[ending](scene.one)
    refuses_strangers(scene.two, other_guid, "base.db")
    wanted = load.acknowledged()
    again = Load(scene.two, "sqlite", [*PYTHON, SQLITE, path, journal], instance=guid).running(wanted + 10)
    refuses_strangers(scene.two, other_guid, "base.db")
    scene.one.mend()
    if ending == "link-down":
        eventually(lambda: load.process.poll() is not None, 20, "the old program gets an error")
    again.end()
    last = again.acknowledged()
    count, largest = map(int, scene.two.run([*PYTHON, LOOK, path], check=True, instance=guid).stdout.split())
    assert count == largest and largest in (last, last + 1)


LEVELDB = """
import plyvel, sys
base = plyvel.DB(sys.argv[1], create_if_missing=True, write_buffer_size=100000)
first = max((int(key) for key in base.iterator(include_value=False)), default=0) + 1
with open(sys.argv[2], "a", buffering=1) as acknowledged:
    for number in range(first, 1 << 30):
        base.put(b"%09d" % number, bytes(3000), sync=True)
        acknowledged.write(f"{number}\\n")
"""
LEVELDB_LOOK = """
import plyvel, sys
base = plyvel.DB(sys.argv[1], paranoid_checks=True)
print(*(int(key) for key in base.iterator(include_value=False, verify_checksums=True)))
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_leveldb(scene, guid, other_guid, ending):
    """Its file LOCK holds a record lock on the whole file: held by the dead program, it does not keep out the next one."""
    path = scene.at("level")
    program = ["/usr/bin/python3", "-c", LEVELDB, path]
    load = Load(scene.one, "leveldb", program, instance=guid).running(100)
    stranger = scene.two.run([*program, "/dev/null"], instance=other_guid)
    assert stranger.returncode != 0 and "LOCK" in stranger.stderr
    ENDINGS[ending](scene.one)
    refuses_strangers(scene.two, other_guid, "level/LOCK")
    wanted = load.acknowledged()
    again = Load(scene.two, "leveldb", program, instance=guid).running(wanted + 50)
    scene.one.mend()
    if ending == "link-down":
        eventually(lambda: load.process.poll() is not None, 20, "the old program gets an error")
    again.end()
    found = scene.two.run(["/usr/bin/python3", "-c", LEVELDB_LOOK, path], check=True, instance=guid).stdout.split()
    assert [int(number) for number in found] == list(range(1, len(found) + 1))
    assert len(found) >= again.acknowledged()


REDIS_LOAD = """
import socket, sys
server = socket.create_connection(("127.0.0.1", 6379))
answers = server.makefile("rb")
with open(sys.argv[1], "a", buffering=1) as acknowledged:
    for number in range(1, 1 << 30):
        server.sendall(b"RPUSH list %d\\r\\n" % number)
        assert answers.readline() == b":%d\\r\\n" % number
        acknowledged.write(f"{number}\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_redis(scene, guid, other_guid, ending):
    """I2(b), T1, T6: redis destroys its environment for its title; it is still X, claims its append-only file, and moves."""
    old = Redis(scene.one, guid, "--appendfsync", "always").started()
    environment = open(f"/proc/{old.process.pid}/environ", "rb").read()
    assert guid.encode() not in environment, "redis no longer destroys its environment: another program is needed here"
    load = Load(scene.one, "redis-load", [*PYTHON, REDIS_LOAD]).running(200)
    files = [path.relative_to(scene.lab.export) for path in scene.lab.export.rglob("*.incr.aof")]
    refuses_strangers(scene.two, other_guid, files[0])
    ENDINGS[ending](scene.one)
    refuses_strangers(scene.two, other_guid, files[0])
    for who in (other_guid, None):
        refuses_to_start(Redis(scene.two, who))
    new = Redis(scene.two, guid, "--appendfsync", "always").started()
    length = int(new.ask("LLEN", "list"))
    assert length >= load.acknowledged()
    assert new.ask("LINDEX", "list", "-1") == str(length)
    assert new.ask("SET", "key", "new") == "OK"
    if ending == "link-down":
        scene.one.mend()
        scene.one.run(["timeout", "3", "redis-cli", "SET", "key", "late"])
        assert b"late" not in b"".join(path.read_bytes() for path in scene.lab.export.rglob("*.aof"))
    assert new.ask("GET", "key") == "new"


@pytest.mark.slow
def test_postgres_moves(scene, guid, other_guid):
    """I2(b), T1, T5: PostgreSQL's children have no environment left to read; they are X like their parent, and it moves."""
    old = Postgres(scene.one, guid)
    old.create()
    old.start()
    old.ask("CREATE TABLE rows (number int); INSERT INTO rows SELECT generate_series(1, 1000); CHECKPOINT")
    assert old.ask("SELECT count(*) FROM rows") == "1000"
    assert [event for event in scene.server.events("refused") if event["guid"] == guid] == []
    wal = scene.one.shell(f"ls {old.data}/pg_wal | head -1").strip()
    refuses_strangers(scene.two, other_guid, f"cluster/pg_wal/{wal}")
    old.ask("INSERT INTO rows VALUES (1001)")
    scene.one.crash()
    new = Postgres(scene.two, guid).start()
    assert new.ask("SELECT count(*) FROM rows") == "1001"
    new.ask("INSERT INTO rows VALUES (1002)")
    assert new.ask("SELECT max(number) FROM rows") == "1002"


PGBENCH_SUMS = ("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND "
                "(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history) AND "
                "(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)")


@pytest.mark.slow
@pytest.mark.programs
@pytest.mark.parametrize("scene", [LONG_LEASE], indirect=True)
@pytest.mark.parametrize("ending", ENDINGS)
def test_postgres_under_pgbench(scene, guid, other_guid, ending):
    """Crash recovery on the other node: every acknowledged row, and balances that agree with the history."""
    old = Postgres(scene.one, guid)
    old.create()
    old.start()
    old.node.run(["pgbench", "-h", "127.0.0.1", "-U", "postgres", "-i", "-q", "-s", "1", "postgres"], check=True, within=240)
    old.ask("CREATE TABLE line (number int PRIMARY KEY)")
    bench = ["pgbench", "-h", "127.0.0.1", "-U", "postgres", "-n", "-c", "4", "-T", "600", "postgres"]
    background(scene.one, "pgbench", bench)
    load = old.load("INSERT INTO line VALUES ({0}) RETURNING number").running(100, 120)
    old.ask("CHECKPOINT")
    load.running(load.acknowledged() + 100, 120)
    refuses_strangers(scene.two, other_guid, "cluster/pg_wal/" + old.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    ENDINGS[ending](scene.one)
    for who in (other_guid, None):
        refuses_to_start(Postgres(scene.two, who).launch())
    new = Postgres(scene.two, guid).start()
    refuses_strangers(scene.two, other_guid, "cluster/pg_wal/" + new.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    largest = int(new.ask("SELECT max(number) FROM line"))
    assert largest >= load.acknowledged()
    assert new.ask("SELECT count(*) FROM line") == str(largest)
    assert new.ask("SELECT count(*) > 0 FROM pgbench_history") == "t"
    assert new.ask(PGBENCH_SUMS) == "t"
    new.ask("CREATE EXTENSION amcheck")
    assert new.ask("SELECT count(bt_index_check(c.oid, true)) > 10 FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
                   "WHERE a.amname = 'btree' AND c.relkind = 'i'") == "t"
    if ending == "link-down":
        scene.one.mend()
        eventually(lambda: old.process.poll() is not None, 60, "the old program gets an error")
        assert new.ask("SELECT max(number) FROM line") == str(largest)


@pytest.mark.slow
@pytest.mark.programs
@pytest.mark.parametrize("scene", [LONG_LEASE], indirect=True)
@pytest.mark.parametrize("ending", ENDINGS)
def test_mariadb(scene, guid, other_guid, ending):
    """InnoDB with O_DIRECT and record locks on its files: recovery on the other node finds every acknowledged row."""
    old = MariaDb(scene.one, guid)
    old.create()
    old.start()
    old.ask("CREATE DATABASE test; CREATE TABLE test.line (number int PRIMARY KEY, filler text) ENGINE=InnoDB")
    load = old.load("INSERT INTO test.line VALUES ({0}, repeat('x', 2000)) RETURNING number").running(200, 120)
    refuses_strangers(scene.two, other_guid, "mariadb/ibdata1")
    ENDINGS[ending](scene.one)
    for who in (other_guid, None):
        refuses_to_start(MariaDb(scene.two, who).launch())
    new = MariaDb(scene.two, guid).start()
    largest = int(new.ask("SELECT max(number) FROM test.line"))
    assert largest >= load.acknowledged()
    assert new.ask("SELECT count(*) FROM test.line") == str(largest)
    assert new.ask("CHECK TABLE test.line EXTENDED").endswith("OK")
    if ending == "link-down":
        scene.one.mend()
        eventually(lambda: old.process.poll() is not None or not old.ask("INSERT INTO test.line VALUES (-1, '') RETURNING 1"), 30)
    assert new.ask("SELECT count(*) FROM test.line WHERE number < 0") == "0"
