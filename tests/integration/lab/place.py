"""A place: a set of namespaces (mounts, network, host name) in which programs can be started."""
import os
import pathlib
import signal
import subprocess
import uuid

from .waiting import eventually

HERE = pathlib.Path(__file__).parent
PYTHON = "/usr/bin/python3"
CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Place:
    """Not thread-safe. close() ends every process in it."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.logs = []  # (title, path)
        self.processes = []
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--propagation", "private", PYTHON, "-I", "-S", HERE / "keeper.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        if self._keeper.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the namespaces of {name} could not be made (root is needed)")
        self.pid = self._keeper.pid
        self.machine_id = uuid.uuid4().hex
        self.boot_id = None
        self.shell(f"hostname {name} && ip link set lo up")
        self._put("/etc/machine-id", self.machine_id)
        self.new_boot()

    # --- programs -----------------------------------------------------------------------------------------------------

    def enter(self, argv, cwd="/", uid=None, gid=None):
        """The command that runs argv here; the process it starts becomes argv by exec. It touches `cwd` only after it has
        become `uid`, so that no mount ever sees it as root."""
        command = ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "--wdns=/"]
        if uid is not None:
            command += ["-S", str(uid), "-G", str(uid if gid is None else gid)]
        # Who started the tests in the background of a shell may ignore ^C.
        return [*command, "--", "env", "--default-signal=INT", "-C", str(cwd), *map(str, argv)]

    def enter_alone(self, argv, env, cwd="/", uid=0, gid=None):
        """Likewise, but argv is the first process of process and IPC namespaces of its own, and all of them end with the
        process that this starts. `env` is for argv only: that process is nobody to the mount."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "--wdns=/", "--", "unshare", "--ipc", "--pid", "--fork",
                "setpriv", "--reuid", str(uid), "--regid", str(uid if gid is None else gid), "--clear-groups",
                "--pdeathsig", "KILL", "env", "-C", str(cwd), *(f"{name}={value}" for name, value in env.items()),
                *map(str, argv)]

    def environment(self, instance=None, version=None, takeover=None, extra=None):
        env = {"PATH": CLEAN_PATH, "LANG": "C.UTF-8", "HOME": "/root"}
        env.update({name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")})
        for name, value in (("APP_INSTANCE_ID", instance), ("APP_INSTANCE_VERSION", version),
                            ("APP_INSTANCE_TAKEOVER", takeover)):
            if value is not None:
                env[name] = str(value)
        env.update(extra or {})
        return env

    def popen(self, argv, instance=None, version=None, takeover=None, env=None, cwd="/", uid=None, gid=None, alone=False,
              **options):
        """`alone`: in process and IPC namespaces of its own, for programs that leave a pid or a shared-memory id in a file and
        ask the machine whether it still lives. The process that is returned is not the program then, but ends with it."""
        environment = self.environment(instance, version, takeover, env)
        command = (self.enter_alone(argv, environment, cwd, uid or 0, gid) if alone else self.enter(argv, cwd, uid, gid))
        process = subprocess.Popen(command, start_new_session=True, env=self.environment() if alone else environment, **options)
        self.processes.append(process)
        return process

    def run(self, argv, within=20.0, check=False, **options):
        """Runs argv to its end: a CompletedProcess with stdout and stderr as text."""
        stdin = options.pop("input", None)
        process = self.popen(argv, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        try:
            stdout, stderr = process.communicate(stdin, timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{argv} on {self.name} did not end within {within} s") from None
        result = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
        if check and result.returncode != 0:
            raise AssertionError(f"{argv} on {self.name} ended with {result.returncode}: {stdout}{stderr}")
        return result

    def shell(self, text, **options):
        return self.run(["sh", "-ec", text], check=True, **options).stdout

    # --- the machine --------------------------------------------------------------------------------------------------

    def new_boot(self):
        """From now on programs here see another boot id: what they start next runs on a rebooted machine."""
        self.boot_id = str(uuid.uuid4())
        self._put("/proc/sys/kernel/random/boot_id", self.boot_id)

    def _put(self, path, text):
        if os.path.exists(path):
            source = self.directory / f"{self.name}-{os.path.basename(path)}-{uuid.uuid4().hex[:8]}"
            source.write_text(text + "\n")
            self.shell(f"mount --bind {source} {path}")

    def path(self, path):
        """The path by which the test itself reaches `path` as it is here."""
        return pathlib.Path(f"/proc/{self.pid}/root{path}")

    def mounts(self):
        """(mount point, type) of every mount here."""
        text = pathlib.Path(f"/proc/{self.pid}/mountinfo").read_text()
        return [(line.split()[4], line.partition(" - ")[2].split()[0]) for line in text.splitlines()]

    def pids(self):
        """Of all processes here but the keeper's."""
        mine = os.stat(f"/proc/{self.pid}/ns/mnt").st_ino
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != self.pid:
                try:
                    if os.stat(f"/proc/{name}/ns/mnt").st_ino == mine:
                        found.append(int(name))
                except OSError:
                    pass
        return found

    def close(self):
        """Ends everything here."""
        self._keeper.stdin.close()
        self._keeper.wait(10)
        for process in self.processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
            process.wait(10)
        self._keeper.stdout.close()


def state_of(pid):
    """The process's state letter; 'X' if it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def stop(pid, within=5.0):
    """SIGSTOP, and wait until every thread of it has stopped."""
    os.kill(pid, signal.SIGSTOP)

    def stopped():
        try:
            return all(state_of(f"{pid}/task/{thread}") in "TtXZ" for thread in os.listdir(f"/proc/{pid}/task"))
        except FileNotFoundError:
            return True
    eventually(stopped, within, f"process {pid} stops")
