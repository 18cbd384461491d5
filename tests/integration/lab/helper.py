"""The process that a test drives call by call (remote.py is the other end). Run by path, with no import of the package.

It answers each request (name, arguments) on the channel with ("value", v) or ("error", errno, text). Names are the
functions of class Calls, or "os.NAME" for a function of module os. SIGUSR1 interrupts a waiting call with EINTR.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import pickle
import signal
import socket
import struct
import sys

FLOCK = struct.Struct("hhqqi4x")  # struct flock of Linux, 64 bit
TYPES = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "u": fcntl.F_UNLCK}
FLOCKS = {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX, "u": fcntl.LOCK_UN}
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38


class Channel:
    """Pickled messages, each behind its length."""

    def __init__(self, stream):
        self._stream = stream

    def read(self):
        size = self._exactly(4)
        return None if size is None else pickle.loads(self._exactly(int.from_bytes(size, "little")))

    def write(self, message):
        data = pickle.dumps(message)
        self._stream.sendall(len(data).to_bytes(4, "little") + data)

    def _exactly(self, size):
        data = bytearray()
        while len(data) < size:
            part = self._stream.recv(size - len(data))
            if not part:
                return None
            data += part
        return bytes(data)


class Calls:
    """What a test may ask for, besides module os. Descriptors are plain numbers."""

    def __init__(self):
        self.maps = {}
        self.names = {}

    # --- files --------------------------------------------------------------------------------------------------------

    def open(self, path, flags=os.O_RDONLY, mode=0o666):
        return os.open(path, flags, mode)

    def read_file(self, path):
        fd = os.open(path, os.O_RDONLY)
        try:
            parts = []
            while part := os.read(fd, 1 << 20):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def write_file(self, path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        fd = os.open(path, flags, 0o666)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def redirect(self, fd, path, flags):
        """As a shell does before it starts a program: `fd` becomes an open of path."""
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, fd)
        os.close(opened)

    # --- locks --------------------------------------------------------------------------------------------------------

    def lock(self, fd, mode="w", start=0, length=0, wait=False, kind="posix"):
        """mode r, w or u; kind posix, ofd or flock."""
        if kind == "flock":
            fcntl.flock(fd, FLOCKS[mode] | (0 if wait else fcntl.LOCK_NB))
            return
        wish = FLOCK.pack(TYPES[mode], os.SEEK_SET, start, length, 0)
        if kind == "ofd":
            fcntl.fcntl(fd, F_OFD_SETLKW if wait else F_OFD_SETLK, wish)
        else:
            fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, wish)

    def getlk(self, fd, mode="w", start=0, length=0, kind="posix"):
        """None, or (mode, start, length, pid) of a lock that is in the way."""
        wish = FLOCK.pack(TYPES[mode], os.SEEK_SET, start, length, 0)
        answer = fcntl.fcntl(fd, F_OFD_GETLK if kind == "ofd" else fcntl.F_GETLK, wish)
        found, _, start, length, pid = FLOCK.unpack(answer)
        if found == fcntl.F_UNLCK:
            return None
        return ("r" if found == fcntl.F_RDLCK else "w", start, length, pid)

    # --- mapped files -------------------------------------------------------------------------------------------------

    def map(self, fd, length, private=False, write=True):
        """A mapping's number."""
        area = mmap.mmap(fd, length, mmap.MAP_PRIVATE if private else mmap.MAP_SHARED,
                         mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
        number = len(self.maps) + 1
        self.maps[number] = area
        return number

    def store(self, number, offset, data):
        self.maps[number][offset:offset + len(data)] = data

    def load(self, number, offset, length):
        return bytes(self.maps[number][offset:offset + length])

    def msync(self, number):
        self.maps[number].flush()

    def store_and_sync(self, number, offset, data):
        self.store(number, offset, data)
        self.msync(number)

    def unmap(self, number):
        self.maps.pop(number).close()

    def guarded(self, name, *arguments):
        """store, load, msync or store_and_sync in a forked child, which shares the mapping: the name of the signal that ended it, an
        errno, or None if it went well."""
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            try:
                getattr(self, name)(*arguments)
                os._exit(0)
            except OSError as error:
                os._exit(error.errno)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            return signal.Signals(os.WTERMSIG(status)).name
        return os.WEXITSTATUS(status) or None

    # --- processes ----------------------------------------------------------------------------------------------------

    def fork(self, path):
        """A child that serves the test through the socket at `path`; its pid."""
        child = os.fork()
        if child:
            return child
        serve_at(path, self)

    def fork_twice(self, path):
        """A grandchild whose parent is gone, as a daemon has it; it serves through the socket at `path`."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        serve_at(path, self)

    def spawn(self, path, env):
        """As fork, but the child execs a new helper with `env` instead of this one's environment."""
        child = os.fork()
        if child == 0:
            os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, path], env)
        return child

    def become(self, path, env):
        """exec: this very process starts again, with `env`."""
        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, path], env)

    def wait(self, pid):
        return os.waitpid(pid, 0)[1]

    def destroy_environment(self, byte=0):
        """Overwrites the memory that /proc/self/environ shows, as programs that set their title do."""
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        ctypes.memset(start, byte, end - start)

    def run(self, text, **names):
        """Runs Python text; the value of its `result`. Names live on between calls."""
        self.names.update(names, os=os, fcntl=fcntl, mmap=mmap, signal=signal, errno=errno)
        self.names["result"] = None
        exec(text, self.names)  # pylint: disable=exec-used
        return self.names["result"]


def interrupt(_number, _frame):
    raise InterruptedError(errno.EINTR, "interrupted")


def serve(stream, calls):
    channel = Channel(stream)
    signal.signal(signal.SIGUSR1, interrupt)
    while (message := channel.read()) is not None:
        name, arguments, named = message
        try:
            function = getattr(os, name[3:]) if name.startswith("os.") else getattr(calls, name)
            value = function(*arguments, **named)
            if isinstance(value, os.stat_result):
                value = {key: getattr(value, key) for key in dir(value) if key.startswith("st_")}
            answer = ("value", value)
        except OSError as error:
            answer = ("error", error.errno, str(error))
        except Exception as error:  # pylint: disable=broad-except
            answer = ("bug", repr(error))
        channel.write(answer)
    os._exit(0)


def serve_at(path, calls):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    serve(stream, calls)


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        serve(socket.socket(fileno=int(sys.argv[1])), Calls())
    serve_at(sys.argv[1], Calls())
