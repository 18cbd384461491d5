"""Real programs for the tests that move them: how each is started, asked and loaded. They are unmodified and know nothing of
batonfs. What a load says was acknowledged is kept on the node's own disk, past the mount."""
import glob
import pathlib
import pwd
import subprocess
import uuid

from lab import eventually

POSTGRES = (glob.glob("/usr/lib/postgresql/*/bin") or [""])[-1]

PYTHON = ["/usr/bin/python3", "-I", "-c"]
SQL_LOAD = """
import subprocess, sys
insert, *client, path = sys.argv[1:]
program = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
with open(path, "a", buffering=1) as acknowledged:
    for number in range(1, 1 << 30):
        program.stdin.write(insert.format(number) + ";\\n")
        assert program.stdout.readline() == f"{number}\\n"
        acknowledged.write(f"{number}\\n")
"""

# How a node ends under a program.
ENDINGS = {"link-down": lambda node: node.cut(), "mount-killed": lambda node: node.kill_mount(),
           "crash": lambda node: node.crash()}


def background(node, title, argv, **who):
    """Starts a program; what it says is shown if the test fails."""
    path = node.directory / f"{title}-on-{node.name}-{uuid.uuid4().hex[:4]}.log"
    node.logs.append((f"{title} on {node.name}", path))
    with open(path, "ab") as log:
        process = node.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **who)
    process.log_path = path
    return process


class Load:
    """A shell or python program that writes a number to a local file as soon as it was acknowledged, for ever."""

    def __init__(self, node, title, argv, **who):
        self.path = pathlib.Path(node.directory) / f"acknowledged-{uuid.uuid4().hex[:6]}"
        self.path.touch()
        self.path.chmod(0o666)
        self.process = background(node, title, [*argv, self.path], **who)

    def acknowledged(self):
        """The largest number; a line that is not whole does not count."""
        whole = self.path.read_text().rpartition("\n")[0]
        return int(whole.rsplit("\n", 1)[-1] or 0)

    def running(self, at_least, within=60):
        """Waits until so many were acknowledged: it is in full swing."""
        def enough():
            assert self.process.poll() is None, self.process.log_path.read_text()
            return self.acknowledged() >= at_least
        eventually(enough, within, f"{at_least} acknowledged")
        return self

    def end(self):
        """Ends it, without a word, and what it waits for with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


class Redis:
    def __init__(self, node, guid, *options):
        self.node = node
        self.process = background(node, "redis", [
            "redis-server", "--dir", node.lab.mount_point, "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1",
            "--port", "6379", *options], instance=guid)

    def started(self):
        eventually(lambda: self.ask("PING") == "PONG", 20, f"redis answers on {self.node.name}")
        return self

    def ask(self, *words):
        return self.node.run(["redis-cli", *words]).stdout.strip()


class Database:
    """A server with its files on the mount, in the hands of its own user, reachable on its node only. `client`: the program that
    speaks to it, which prints what a query gives and nothing else."""

    def __init__(self, node, guid, folder, owner, client):
        self.node = node
        owner = pwd.getpwnam(owner)
        self.who = dict(instance=guid, uid=owner.pw_uid, gid=owner.pw_gid, env={"HOME": "/tmp"})
        self.data = f"{node.lab.mount_point}/{folder}"
        self.client = client
        self.process = None

    def start(self, within=120):
        self.launch()
        eventually(lambda: self.ask("SELECT 1") == "1", within, f"{type(self).__name__} answers on {self.node.name}")
        return self

    def load(self, insert):
        """Inserts one row after the other: `insert` has {0} for its number, and returns that."""
        return Load(self.node, "rows", [*PYTHON, SQL_LOAD, insert, *self.client])


class Postgres(Database):
    """It asks the machine whether the pid and the shared memory named in postmaster.pid live: it runs with those of its own, as
    on a machine of its own."""

    def __init__(self, node, guid):
        super().__init__(node, guid, "cluster", "postgres", ["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atq", "postgres"])

    def create(self):
        self.node.run([f"{POSTGRES}/initdb", "-D", self.data, "--no-sync", "-A", "trust", "-U", "postgres"], check=True,
                      within=120, **self.who)

    def launch(self):
        self.process = background(self.node, "postgres", [
            f"{POSTGRES}/postgres", "-D", self.data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=20", "-c", "shared_buffers=16MB"], alone=True, **self.who)
        return self

    def ask(self, text):
        return self.node.run([*self.client, "-c", text]).stdout.strip()


class MariaDb(Database):
    """InnoDB with O_DIRECT; the server keeps its socket on the node's own disk."""

    def __init__(self, node, guid):
        self.socket = f"/tmp/{uuid.uuid4().hex[:8]}.sock"
        super().__init__(node, guid, "mariadb", "mysql",
                         ["mariadb", "--no-defaults", f"--socket={self.socket}", "-u", "root", "-nBN"])

    def create(self):
        self.node.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
                       "--skip-test-db"], check=True, within=240, **self.who)

    def launch(self):
        self.process = background(self.node, "mariadb", [
            "mariadbd", "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}", "--skip-networking",
            f"--pid-file={self.socket}.pid", "--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=1"], **self.who)
        return self

    def ask(self, text):
        return self.node.run([*self.client, "-e", text]).stdout.strip()
