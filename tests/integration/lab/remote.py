"""A process on a node that a test drives call by call; helper.py is what runs there."""
import contextlib
import errno
import os
import pathlib
import pickle
import select
import signal
import socket
import subprocess
import time
import types
import uuid

from .place import HERE, PYTHON, state_of, stop
from .waiting import eventually

HELPER = HERE / "helper.py"
CHANNEL_CALLS = (44, 45)  # sendto and recvfrom of x86-64: between two calls
MODES = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


class Pending:
    """A call under way."""

    def __init__(self, remote, name):
        self._remote = remote
        self._name = name
        self.seconds = None  # how long it took, once its result was fetched
        self._started = time.monotonic()

    def done(self):
        return self._remote.readable(0)

    def waits(self, within=10.0):
        """Returns once the process sleeps in the call's system call; an error if the call returned instead."""
        def asleep():
            if self.done():
                raise AssertionError(f"{self._remote}: {self._name} did not wait")
            return self._remote.system_call() not in (None, *CHANNEL_CALLS)
        eventually(asleep, within, f"{self._remote} waits in {self._name}")
        return self

    def result(self, within=20.0):
        """Its value; OSError if it failed there."""
        if not self._remote.readable(within):
            raise AssertionError(f"{self._remote}: {self._name} did not return within {within} s "
                                 f"(state {state_of(self._remote.pid)}, in {self._remote.kernel_wait()})")
        kind, *answer = self._remote.receive()
        self.seconds = time.monotonic() - self._started
        if kind == "value":
            return answer[0]
        if kind == "error":
            raise OSError(answer[0], f"{self._remote}: {self._name}: {answer[1]}")
        raise AssertionError(f"{self._remote}: {self._name}: {answer[0]}")


class Remote:
    """Calls block until the process has answered; start() does not wait. One call at a time. Unknown methods are the
    functions of module os there: program.fsync(fd), program.rename(a, b), program.stat(path)["st_size"]."""

    def __init__(self, node, stream, pid, process=None, title=""):
        self.node = node
        self.pid = pid
        self.title = title
        self._stream = stream
        self._process = process

    @classmethod
    def start(cls, node, cwd, interpreter=PYTHON, **who):
        ours, theirs = socket.socketpair()
        title = f"program {uuid.uuid4().hex[:6]} on {node.name}"
        log_path = node.directory / f"{title.replace(' ', '-')}.log"
        with theirs, open(log_path, "ab") as log:
            process = node.popen([interpreter, "-I", "-S", HELPER, theirs.fileno()], cwd=cwd,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], **who)
        node.logs.append((title, log_path))
        remote = cls(node, ours, process.pid, process, title)
        remote.call("os.getpid")  # it runs: whatever identity it has is now settled
        return remote

    def __repr__(self):
        return f"{self.title} (pid {self.pid})"

    # --- calls ----------------------------------------------------------------------------------------------------------

    def start_call(self, name, *arguments, **named):
        data = pickle.dumps((name, arguments, named))
        self._stream.sendall(len(data).to_bytes(4, "little") + data)
        return Pending(self, name)

    def call(self, name, *arguments, **named):
        return self.start_call(name, *arguments, **named).result()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if hasattr(os, name):
            return lambda *arguments, **named: self.call(f"os.{name}", *arguments, **named)
        return lambda *arguments, **named: self.call(name, *arguments, **named)

    def open(self, path, mode="r", flags=0, permissions=0o666):
        """A descriptor's number there. mode r, w or rw; flags are added."""
        return self.call("open", str(path), MODES[mode] | flags, permissions)

    def create(self, path, mode="rw", flags=0):
        return self.open(path, mode, os.O_CREAT | flags)

    def pwrite(self, fd, data, offset=0):
        return self.call("os.pwrite", fd, data, offset)

    def holders(self, path):
        """Who holds the file, as the mount tells any reader: a list of (node, guid or "-", pid, mode)."""
        text = self.call("os.getxattr", str(path), "user.baton.holders").decode()
        return [tuple(line.split()) for line in text.splitlines()]

    def pread(self, fd, size, offset=0):
        return self.call("os.pread", fd, size, offset)

    # --- the process ----------------------------------------------------------------------------------------------------

    @property
    def alive(self):
        if self._process is not None:
            return self._process.poll() is None
        return state_of(self.pid) not in "ZX"

    def signal(self, number):
        os.kill(self.pid, number)

    def interrupt(self):
        """A call that waits() there fails with EINTR."""
        self.signal(signal.SIGUSR1)

    def freeze(self):
        stop(self.pid)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL; does not wait for its end, which may need its mount."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
        self._stream.close()

    def exited(self, within=10.0):
        """Waits for its end."""
        eventually(lambda: not self.alive, within, f"{self} ends")

    def fork(self):
        return self._child("fork")

    def fork_twice(self):
        return self._child("fork_twice")

    def spawn(self, **who):
        """A child that execs, with another environment: instance=, version=, takeover=, env=; none of them is inherited."""
        return self._child("spawn", self.node.environment(*self._who(**who)))

    def become(self, **who):
        """This process execs; the result stands for it from then on."""
        return self._child("become", self.node.environment(*self._who(**who)), answers=False)

    @staticmethod
    def _who(instance=None, version=None, takeover=None, env=None):
        return instance, version, takeover, env

    def _child(self, how, *arguments, answers=True):
        path = pathlib.Path(self.node.directory) / f"fork-{uuid.uuid4().hex[:12]}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o777)
            listener.listen(1)
            listener.settimeout(10)
            call = self.start_call(how, str(path), *arguments)
            if answers:
                call.result()
            stream, _ = listener.accept()
        path.unlink()
        pid = self._peer(stream)
        child = Remote(self.node, stream, pid, title=f"{how} of {self.title}")
        self.node.programs.append(child)
        return child

    @staticmethod
    def _peer(stream):
        return int.from_bytes(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    # --- the channel ----------------------------------------------------------------------------------------------------

    def readable(self, within):
        return bool(self._poll(within))

    def _poll(self, within):
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        return poll.poll(within * 1000)

    def receive(self):
        return pickle.loads(self._exactly(int.from_bytes(self._exactly(4), "little")))

    def _exactly(self, size):
        data = bytearray()
        while len(data) < size:
            part = self._stream.recv(size - len(data))
            if not part:
                raise AssertionError(f"{self} ended in the middle of a call")
            data += part
        return bytes(data)

    def system_call(self):
        """The number of the one it sleeps in, or None."""
        try:
            first = pathlib.Path(f"/proc/{self.pid}/syscall").read_text().split()[0]
        except OSError:
            return None
        return int(first) if first.lstrip("-").isdigit() else None

    def kernel_wait(self):
        try:
            return pathlib.Path(f"/proc/{self.pid}/wchan").read_text() or "user space"
        except OSError:
            return "nothing: it is gone"


@contextlib.contextmanager
def refused(*numbers):
    """The block must fail with one of these errnos."""
    caught = types.SimpleNamespace(errno=None)
    names = "/".join(errno.errorcode[number] for number in numbers)
    try:
        yield caught
    except OSError as error:
        caught.errno = error.errno
        if error.errno not in numbers:
            raise AssertionError(f"expected {names}, got {errno.errorcode.get(error.errno, error.errno)}: {error}") from error
        return
    raise AssertionError(f"expected {names}, but it went well")
