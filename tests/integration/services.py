"""Real programs for the tests that move them: how each is started, asked and loaded. They are unmodified and know nothing of
batonfs. What a load says was acknowledged is kept on the node's own disk, past the mount."""
import glob
import pathlib
import pwd
import subprocess
import uuid

from lab import eventually

POSTGRES = (glob.glob("/usr/lib/postgresql/*/bin") or [""])[-1]

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


class Postgres:
    """A cluster on the mount, in the hands of user postgres, reachable on its node only. It asks the machine whether the pid
    and the shared memory named in postmaster.pid live: it runs with those of its own, as on a machine of its own."""

    def __init__(self, node, guid):
        self.node = node
        owner = pwd.getpwnam("postgres")
        self.who = dict(instance=guid, uid=owner.pw_uid, gid=owner.pw_gid, env={"HOME": "/tmp"})
        self.data = f"{node.lab.mount_point}/cluster"
        self.process = None

    def create(self):
        self.node.run([f"{POSTGRES}/initdb", "-D", self.data, "--no-sync", "-A", "trust", "-U", "postgres"], check=True,
                      within=120, **self.who)

    def launch(self):
        self.process = background(self.node, "postgres", [
            f"{POSTGRES}/postgres", "-D", self.data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=20", "-c", "shared_buffers=16MB"], alone=True, **self.who)
        return self

    def start(self, within=60):
        self.launch()
        eventually(lambda: self.ask("SELECT 1") == "1", within, f"PostgreSQL answers on {self.node.name}")
        return self

    def ask(self, text):
        return self.node.run(["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atqc", text, "postgres"]).stdout.strip()


class MariaDb:
    """A data directory on the mount, InnoDB with O_DIRECT; the server keeps its socket on the node's own disk."""

    def __init__(self, node, guid):
        self.node = node
        owner = pwd.getpwnam("mysql")
        self.who = dict(instance=guid, uid=owner.pw_uid, gid=owner.pw_gid, env={"HOME": "/tmp"})
        self.data = f"{node.lab.mount_point}/mariadb"
        self.socket = f"/tmp/{uuid.uuid4().hex[:8]}.sock"
        self.process = None

    def create(self):
        self.node.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
                       "--skip-test-db"], check=True, within=240, **self.who)

    def launch(self):
        self.process = background(self.node, "mariadb", [
            "mariadbd", "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}", "--skip-networking",
            f"--pid-file={self.socket}.pid", "--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=1"], **self.who)
        return self

    def start(self, within=120):
        self.launch()
        eventually(lambda: self.ask("SELECT 1") == "1", within, f"MariaDB answers on {self.node.name}")
        return self

    def ask(self, text):
        return self.node.run(["mariadb", "--no-defaults", f"--socket={self.socket}", "-u", "root", "-BNe", text]).stdout.strip()
