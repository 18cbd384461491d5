"""batond in a laboratory."""
import json
import os
import re
import signal
import socket
import subprocess

from .place import state_of, stop
from .waiting import eventually

# What a program writes before it dies of its own bug.
BUG = re.compile(r"(Address|Thread|Leak|UndefinedBehavior)Sanitizer|runtime error:|internal error: |terminate called")


class Daemon:
    """A program of ours that runs in the background; its standard error goes to a log file."""

    def __init__(self, place, title, argv, env=None):
        self.place = place
        self.title = title
        self.argv = [str(word) for word in argv]
        self.env = env or {}
        self.process = None
        self.frozen = False
        self.log_path = place.directory / f"{title.replace(' ', '-')}.log"
        place.logs.append((title, self.log_path))

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = self.place.popen(self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.frozen = False

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def freeze(self):
        stop(self.pid)
        self.frozen = True

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)
        self.frozen = False

    def kill(self):
        """SIGKILL: it ends without a word."""
        if self.alive:
            self.process.kill()
            self.process.wait(10)

    def terminate(self, within=10.0):
        """SIGTERM; the exit status."""
        if self.alive:
            self.process.terminate()
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.title} did not end within {within} s of SIGTERM "
                                 f"(state {state_of(self.pid)})\n{self.log()[-4000:]}") from None

    def bug(self):
        """The line in which it reports a bug of its own, or how it died if nobody killed it; None if all is well."""
        if self.process is not None and (self.process.poll() or 0) < 0 and self.process.returncode != -signal.SIGKILL:
            return f"ended by {signal.Signals(-self.process.returncode).name}"
        for line in self.log().splitlines():
            if BUG.search(line):
                return line
        return None


class Server(Daemon):
    """`restart` keeps the state directory, the options and the address."""

    def __init__(self, host, programs, export, state, address, port, options):
        self.programs = programs
        self.export = export
        self.state = state
        self.address = f"{address}:{port}"
        self._ready_path = str(host.directory / f"notify-{port}")
        argv = [programs / "batond", "--export", export, "--state-dir", state, "--listen", self.address, "--insecure",
                *options]
        super().__init__(host, f"batond {port}", argv, {"NOTIFY_SOCKET": self._ready_path})
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._ready_path)

    def start(self, within=20.0):
        """Starts it and waits until it says (to its service manager) that it is ready."""
        self.spawn()
        self._notify.setblocking(False)

        def ready():
            if not self.alive:
                raise AssertionError(f"batond ended with {self.process.returncode}:\n{self.log()}")
            try:
                return b"READY=1" in self._notify.recv(4096)
            except BlockingIOError:
                return False
        eventually(ready, within, "batond is ready")
        return self

    def restart(self, *, kill=True):
        if kill:
            self.kill()
        else:
            self.terminate()
        return self.start()

    def baton(self, *arguments, within=20.0):
        """Runs the operator's command: a CompletedProcess."""
        return self.place.run([self.programs / "baton", "--state-dir", self.state, *arguments], within)

    def listing(self, *arguments):
        """What `baton ... --json` prints: a list of objects."""
        result = self.baton(*arguments, "--json")
        if result.returncode != 0:
            raise AssertionError(f"baton {arguments} ended with {result.returncode}: {result.stderr}")
        return [json.loads(line) for line in result.stdout.splitlines() if line.strip()]

    def events(self, kind=None, **fields):
        """Past events; only those of the kind and with these values."""
        return [event for event in self.listing("events")
                if (kind is None or event["kind"] == kind) and
                all(event.get(name) == value for name, value in fields.items())]

    def close_notify(self):
        self._notify.close()
