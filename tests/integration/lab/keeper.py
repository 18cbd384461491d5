"""Keeps the namespaces of a place alive: runs in them, started by place.py, and does nothing until its standard input
ends, which also happens when the test run is killed. Then it ends every process of its mount namespace."""
import ctypes
import os
import signal
import sys

PR_SET_NAME = 15
GUARD = b"baton-guard"   # it ends after its batonfs, which without it may never end


def others():
    mine = os.stat("/proc/self/ns/mnt").st_ino
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if os.stat(f"/proc/{name}/ns/mnt").st_ino == mine:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        title, _, rest = file.read().rpartition(b")")
                    if rest.split()[0] not in b"ZX":
                        yield int(name), title.partition(b"(")[2]
            except OSError:
                pass


def main():
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"lab-keeper", 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"ready\n")
    while os.read(0, 64):
        pass
    for _ in range(100):
        left = list(others())
        if not left:
            break
        for pid, title in left:
            try:
                if title != GUARD:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        signal.sigtimedwait([], 0.01)
    sys.exit(0)


main()
