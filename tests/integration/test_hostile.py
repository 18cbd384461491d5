"""A4: whatever bytes a peer sends to a real batond, it answers with an error or closes the connection; its memory stays
bounded, and a node that works at the same time notices nothing. (tests/unit/net has the same without a server around it,
tests/fuzz looks for more.)"""
import contextlib
import ctypes
import pathlib
import random
import socket
import struct
import threading

import pytest
from lab import eventually

HEADER = struct.Struct("<IIHBBIIiQ")
REQUEST = 1
VERSION = 3
HELLO, PING, WRITE, CLOSE = 1, 2, 33, 35
NO_SLOT = 0xffffffff
MAGIC = 0x4e544142


def frame(operation, body=b"", data=b"", *, kind=REQUEST, flags=0, slot=NO_SLOT, sequence=0, error=0, epoch=0, body_size=None,
          data_size=None):
    sizes = (len(body) if body_size is None else body_size, len(data) if data_size is None else data_size)
    return HEADER.pack(*sizes, operation, kind, flags, slot, sequence, error, epoch) + body + data


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


def hello(*, magic=MAGIC, oldest=VERSION, newest=VERSION, node="hostile", session=0, secret=(0, 0), run="r"):
    body = struct.pack("<IHHQQQQ", magic, oldest, newest, 0, session, *secret)
    return frame(HELLO, body + text(node) + text("boot") + text("machine") + text("/mnt") + text(run))


def exactly(stream, size):
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def reply(stream):
    """(header, body) of the next frame, or None if the connection was closed."""
    with contextlib.suppress(ConnectionResetError):
        if (head := exactly(stream, HEADER.size)) is not None:
            fields = HEADER.unpack(head)
            return fields, exactly(stream, fields[0] + fields[1])
    return None


def enter(namespace):
    """The calling thread only."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Victim:
    """A server, a node with a program at work on it all the time, and connections from the server's own host."""

    def __init__(self, lab, *options):
        self.lab = lab
        self.server = lab.server(*options)
        self.node = lab.node("one")
        self.node.mount()
        self.program = self.node.python()
        self.fd = self.program.create("data")
        self.work()
        self.before = self.memory()

    def connect(self, rcvbuf=None):
        """Sockets belong to the network namespace of the thread that makes them, so one enters the server's."""
        made = []

        def make():
            with open(f"/proc/{self.lab.host.pid}/ns/net", "rb") as space:
                enter(space.fileno())
            stream = socket.socket()
            if rcvbuf:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            stream.settimeout(20)
            stream.connect(("10.77.0.1", 7740))
            made.append(stream)
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def greeted(self, **options):
        stream = self.connect(options.pop("rcvbuf", None))
        stream.sendall(hello(**options))
        (*_, error, _), _ = reply(stream)
        assert error == 0
        return stream

    def memory(self):
        """Of the server, in bytes."""
        for line in pathlib.Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("batond is gone")

    def sanitizers_own(self):
        """What a sanitizer keeps of its own: freed memory in a quarantine of at most 256 MiB, or shadows of what was touched."""
        maps = pathlib.Path(f"/proc/{self.server.pid}/maps").read_text()
        return 256 << 20 if "/libasan.so" in maps or "/libtsan.so" in maps else 0

    def work(self):
        """What a node does meanwhile: it works, and is quick."""
        call = self.program.start_call("os.pwrite", self.fd, b"text", 0)
        assert call.result(5) == 4
        assert self.program.stat("data")["st_size"] == 4

    def unharmed(self, grown=64 << 20):
        self.work()
        assert self.server.alive
        assert self.memory() - self.before < grown + self.sanitizers_own()
        assert self.server.bug() is None


@pytest.fixture
def victim(lab):
    made = Victim(lab)
    yield made
    made.unharmed()


def is_closed(stream):
    """Waits for the end of the connection; what was sent before it."""
    got = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := stream.recv(65536):
            got += part
    return got


@pytest.mark.parametrize("greet", [False, True], ids=["before-hello", "after-hello"])
def test_no_frame(victim, greet):
    """A4: what is no frame, too long, or no request ends the connection, before and after HELLO."""
    for bad in (b"GET / HTTP/1.1\r\nHost: batonfs.example\r\n\r\n", b"\0" * 64, b"\xff" * 64,
                frame(PING, body_size=256 * 1024 + 1), frame(WRITE, data_size=1024 * 1024 + 1, slot=0, sequence=1),
                frame(PING, body_size=0xffffffff), frame(PING, kind=0), frame(PING, kind=9), frame(PING, kind=2),
                frame(PING, kind=3), frame(PING, slot=1024), frame(PING, error=-1), frame(PING, error=5000)):
        stream = victim.greeted() if greet else victim.connect()
        with contextlib.suppress(ConnectionError):
            stream.sendall(bad)
        is_closed(stream)
        stream.close()


def test_wrong_hello(victim):
    """A4, S1: another protocol, no common version, no name, or a session that is not known is refused with an error."""
    for words in (dict(magic=1), dict(oldest=99, newest=99), dict(oldest=2, newest=1), dict(node=""), dict(node="x" * 5000),
                  dict(session=12345, secret=(1, 2))):
        stream = victim.connect()
        stream.sendall(hello(**words))
        answer = reply(stream)
        assert answer is None or answer[0][7] != 0
        stream.close()
    assert [session["node"] for session in victim.server.listing("sessions")] == ["one"]


def test_session_of_another(victim):
    """S1: a session's number alone is worth nothing: it is resumed by its secret."""
    session, = victim.server.listing("sessions")
    for secret in ((0, 0), (1, 1)):
        stream = victim.connect()
        stream.sendall(hello(session=session["session"], secret=secret, node="one"))
        answer = reply(stream)
        assert answer is None or answer[0][7] != 0
    victim.work()


def test_bodies_of_nonsense(victim):
    """A4: an operation with no body, a random one, or one that claims more than it has is an error, or the end."""
    noise = random.Random(1)
    for operation in (*range(0, 45), 100, 101, 65535):
        for size in (0, 1, 40, 200, 300):
            stream = victim.greeted(run=str(operation))
            with contextlib.suppress(ConnectionError):
                stream.sendall(frame(operation, noise.choice([noise.randbytes, bytes])(size), slot=0, sequence=1))
                stream.shutdown(socket.SHUT_WR)
            is_closed(stream)
            stream.close()
        victim.work()


def test_handles_of_others(victim):
    """A4, I7: a handle belongs to its session: guessed numbers are ESTALE, and nobody's file is written or closed."""
    own = [row["handle"] for row in victim.server.listing("opens")]
    for handle in (*own, 0, 1, 2**64 - 1):
        stream = victim.greeted(run=str(handle))
        stream.sendall(frame(CLOSE, struct.pack("<Q", handle), slot=0, sequence=1))
        answer = reply(stream)
        assert answer is None or answer[0][7] != 0
        stream.close()
    victim.work()
    assert [row["handle"] for row in victim.server.listing("opens")] == own


def test_half_open_connections(victim):
    """A4: hundreds of connections that say nothing, or half a frame, cost little, and one that says no HELLO is closed."""
    silent = victim.connect()
    kept = [victim.connect() for _ in range(300)]
    for number, stream in enumerate(kept):
        stream.sendall(hello()[:number % 60])
    victim.unharmed()
    is_closed(silent)   # after the time for HELLO
    for stream in kept:
        stream.close()


def test_many_that_announce_large_frames(victim):
    """A4: a length is a promise, not memory: 200 peers that announce a megabyte each and send none of it."""
    streams = [victim.greeted(node=f"n{number}") for number in range(200)]
    for stream in streams:
        stream.sendall(frame(WRITE, data_size=1024 * 1024, body_size=64, slot=0, sequence=1)[:HEADER.size])
    victim.unharmed()
    for stream in streams:
        stream.close()


def test_sends_and_never_reads(victim):
    """A4: a peer that asks and asks and never reads is not read any more; what is queued for it is bounded."""
    stream = victim.greeted(rcvbuf=4096)
    stream.setblocking(False)
    asked = frame(PING) * 2000
    sent = 0

    def stuck():
        nonlocal sent
        try:
            while True:
                sent += stream.send(asked)
                if sent > 512 << 20:
                    raise AssertionError("batond reads on and on")
        except BlockingIOError:
            return victim.memory()
        except ConnectionError:
            return True   # it may also be closed
    for _ in range(100):
        stuck()
        victim.work()
    victim.unharmed()


def closes(stream):
    """Whether the other side closes it soon."""
    stream.settimeout(0.5)
    try:
        return stream.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_more_connections_than_allowed(lab):
    """A4: above --max-connections a new one is closed; those that are there go on, and an end makes room."""
    victim = Victim(lab, "--max-connections", "5")
    streams = [victim.connect() for _ in range(10)]
    victim.work()
    assert sum(closes(stream) for stream in streams) >= 5
    for stream in streams:
        stream.close()
    eventually(lambda: victim.server.listing("status")[0]["connections"] == 1, 10)
    victim.unharmed()
