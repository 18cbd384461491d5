"""own_writes.py FILE LENGTH SECONDS: writes with write(2) and looks for it in a mapping, while another process of the same node
makes the kernel fetch the pages again. Prints how many writes were not there at once, and how many not after a while."""
import mmap
import os
import signal
import sys
import time

PAGES = 64


def disturb(path):
    """Reads ask for a size that is no longer believed; an mtime that changed, and a mapping with O_DIRECT, drop all pages."""
    reader, direct = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY | os.O_DIRECT)
    while True:
        for page in range(4):
            for _ in range(50):
                os.pread(reader, 10, page * 4096)
            mapping = mmap.mmap(direct, PAGES * 4096, prot=mmap.PROT_READ)
            mapping[page * 4096]
            mapping.close()


def main():
    path, length, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    writer = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(writer, PAGES * 4096)
    mapping = mmap.mmap(writer, PAGES * 4096, prot=mmap.PROT_READ)
    child = os.fork()
    if child == 0:
        disturb(path)
    tries = missed = lost = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tries += 1
        at = tries % 4 * 4096
        wanted = b"%011d" % tries
        os.pwrite(writer, wanted * (length // 11), at)
        if mapping[at:at + 11] != wanted:
            missed += 1
            os.kill(child, signal.SIGSTOP)   # nobody helps
            deadline = time.monotonic() + 2
            while mapping[at:at + 11] != wanted and time.monotonic() < deadline:
                pass
            lost += mapping[at:at + 11] != wanted
            os.kill(child, signal.SIGCONT)
    os.kill(child, signal.SIGKILL)
    print(tries, missed, lost)


main()
