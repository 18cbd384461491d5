"""Opens, creates, writes, renames and removes while a timer's harmless signal comes again and again, at every moment of a call.
Prints each call that failed, with its error.

usage: signals.py FOLDER ROUNDS
"""
import ctypes
import errno
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)   # os.open would try again


def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        print(name, errno.errorcode[ctypes.get_errno()], flush=True)
    return result


def main(folder, rounds):
    os.mkdir(folder)
    path, other = f"{folder}/file".encode(), f"{folder}/other".encode()
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    for _ in range(rounds):
        made = call("open", path, os.O_CREAT | os.O_RDWR, 0o644)
        call("write", made, b"x", 1)
        call("close", made)
        call("close", call("open", path, os.O_RDONLY))
        call("rename", path, other)
        call("unlink", other)
    signal.setitimer(signal.ITIMER_REAL, 0)


main(sys.argv[1], int(sys.argv[2]))
