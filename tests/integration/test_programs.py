"""Real programs, unmodified, among them those that destroy the environment in which their id stood (I2 b)."""
import errno
import glob
import pwd
import subprocess

import pytest
from lab import eventually, refused


def background(node, title, argv, **who):
    """Starts a server; what it says is shown if the test fails."""
    path = node.directory / f"{title}-on-{node.name}.log"
    node.logs.append((f"{title} on {node.name}", path))
    with open(path, "ab") as log:
        return node.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **who)


class Redis:
    def __init__(self, node, guid):
        self.node = node
        self.process = background(node, "redis", [
            "redis-server", "--dir", node.lab.mount_point, "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1",
            "--port", "6379"], instance=guid)
        eventually(lambda: self.ask("PING") == "PONG", 20, f"redis answers on {node.name}")

    def ask(self, *words):
        return self.node.run(["redis-cli", *words]).stdout.strip()


@pytest.mark.slow
def test_redis_moves(scene, guid, other_guid):
    """I2(b), T1, T6: redis overwrites its environment for its title; it is still X, claims its files, and moves."""
    old = Redis(scene.one, guid)
    environment = open(f"/proc/{old.process.pid}/environ", "rb").read()
    assert guid.encode() not in environment, "redis no longer destroys its environment: another program is needed here"
    assert old.ask("SET", "key", "one") == "OK"
    file = next(scene.lab.export.rglob("*.aof")).relative_to(scene.lab.export)
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open(file, "rw")
    scene.one.cut()
    new = Redis(scene.two, guid)
    assert new.ask("GET", "key") == "one"
    assert new.ask("SET", "key", "two") == "OK"
    scene.one.mend()
    old.ask("SET", "key", "late")
    assert new.ask("GET", "key") == "two"
    log = b"".join(path.read_bytes() for path in scene.lab.export.rglob("*.aof"))
    assert b"late" not in log


POSTGRES = (glob.glob("/usr/lib/postgresql/*/bin") or [""])[-1]


class Postgres:
    """A cluster on the mount, in the hands of user postgres, reachable on its node only."""

    def __init__(self, node, guid):
        self.node = node
        self.owner = pwd.getpwnam("postgres")
        self.who = dict(instance=guid, uid=self.owner.pw_uid, gid=self.owner.pw_gid, env={"HOME": "/tmp"})
        self.data = f"{node.lab.mount_point}/cluster"

    def create(self):
        self.node.run([f"{POSTGRES}/initdb", "-D", self.data, "--no-sync", "-A", "trust", "-U", "postgres"], check=True,
                      within=120, **self.who)

    def start(self):
        self.process = background(self.node, "postgres", [
            f"{POSTGRES}/postgres", "-D", self.data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=10", "-c", "shared_buffers=16MB"], **self.who)
        eventually(lambda: self.ask("SELECT 1") == "1", 30, f"PostgreSQL answers on {self.node.name}")
        return self

    def ask(self, text):
        return self.node.run(["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atqc", text, "postgres"]).stdout.strip()


@pytest.mark.slow
def test_postgres_moves(scene, guid, other_guid):
    """I2(b), T1, T5: PostgreSQL's children have no environment left to read; they are X like their parent, and it moves."""
    scene.lab.export.chmod(0o777)
    old = Postgres(scene.one, guid)
    old.create()
    old.start()
    old.ask("CREATE TABLE rows (number int); INSERT INTO rows SELECT generate_series(1, 1000); CHECKPOINT")
    assert old.ask("SELECT count(*) FROM rows") == "1000"
    events = [event for event in scene.server.events("refused") if event["guid"] == guid]
    assert events == []
    wal = scene.one.shell(f"ls {old.data}/pg_wal | head -1").strip()
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open(f"cluster/pg_wal/{wal}", "rw")
    old.ask("INSERT INTO rows VALUES (1001)")
    scene.one.crash()
    new = Postgres(scene.two, guid).start()
    assert new.ask("SELECT count(*) FROM rows") == "1001"
    new.ask("INSERT INTO rows VALUES (1002)")
    assert new.ask("SELECT max(number) FROM rows") == "1002"


def test_git(scene):
    """A repository made on one node is whole on the other."""
    git = "git -c user.name=x -c user.email=x@example.org"
    scene.one.shell(f"cd {scene.lab.mount_point}; git init -q repository; cd repository; "
                    f"for n in 1 2 3; do echo $n >file$n; git add .; {git} commit -qm $n; done")
    scene.two.shell(f"cd {scene.at('repository')}; git -c safe.directory='*' fsck --strict; "
                    "test $(git -c safe.directory='*' rev-list --count HEAD) = 3")


def test_copying_a_tree(scene):
    """cp -a keeps modes, times, links and owners."""
    listing = "find . -printf '%p %m %U %G %T@ %l\\n' | grep -v '^\\. ' | sort"
    scene.one.shell(f"cp -a /etc/alternatives {scene.at('tree')}")
    there = scene.two.shell(f"cd {scene.at('tree')} && {listing}")
    here = scene.one.shell(f"cd /etc/alternatives && {listing}")
    assert there == here
