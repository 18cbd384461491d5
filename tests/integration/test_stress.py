"""stress-ng's file system stressors, verifying: none finds what it does not find on a local directory of the same disk; nothing is
left open; the daemons' memory and descriptors do not grow."""
import os
import pathlib
import re
import time

import pytest
from lab import eventually

QUICK = ("copy-file", "fallocate", "fpunch", "lockf", "rename", "seek", "xattr")
# All that want no device, no capability of a file system that FUSE passes nothing of, and no file of the machine.
ALL = ("access", "aio", "aiol", "chattr", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep", "dirmany", "dnotify",
       "fallocate", "fanotify", "fault", "fcntl", "fiemap", "file-ioctl", "filename", "flock", "fpunch", "fsize", "fstat", "getdent",
       "handle", "hdd", "inode-flags", "inotify", "io", "iomix", "io-uring", "lease", "link", "locka", "lockf", "lockofd", "madvise",
       "mknod", "msync", "open", "readahead", "rename", "revio", "seek", "sendfile", "splice", "symlink", "sync-file", "touch", "utime",
       "verity", "xattr")
# Each ends when what it has begun is done: link and symlink always make and remove 8,192 names, others let themselves be told.
FEWER = {"dentry": ("--dentries", 256), "dir": ("--dir-dirs", 256), "dirdeep": ("--dirdeep-inodes", 256)}
PROCESSES = {"link": 1, "symlink": 1}   # of a node; others: 2
# What docs/semantics.md says differs from a local disk.
DIFFERS = {"fiemap": "FS_IOC_FIEMAP not supported"}


def start(node, name, seconds, directory):
    return node.popen(["stress-ng", f"--{name}", PROCESSES.get(name, 2), *FEWER.get(name, ()), "--timeout", seconds, "--verify",
                       "--oomable", "--temp-path", directory], stdout=-1, stderr=-2, text=True)


def findings(processes, name, seconds, directory):
    """What they complain of, without what differs from one run to the next."""
    found = set()
    for process in processes:
        said = process.communicate(timeout=seconds + 120)[0].replace(str(directory), "")
        complaints = [line for line in said.splitlines() if re.search("fail:|error:|skipping", line)]
        if process.returncode != 0:
            complaints.append(f"ended with status {process.returncode}")
        found |= {re.sub(r"\b\d+\b", "N", line) for line in complaints if DIFFERS.get(name, "\n") not in line}
    return found


def stress(scene, nodes, names, seconds):
    """Each stressor on all the nodes at once; what it finds it has to find on the local disk, too."""
    mount, local = scene.lab.mount_point, scene.lab.directory / "local"
    local.mkdir(exist_ok=True)
    for name in names:
        found = findings([start(node, name, seconds, mount) for node in nodes], name, seconds, mount)
        if found:
            natural = findings([start(scene.one, name, seconds, local) for _ in nodes], name, seconds, local)
            assert found <= natural, f"{name}: on the local disk only {natural}"
    eventually(lambda: scene.server.listing("opens") == [] and scene.server.listing("locks") == [], 20, "nothing is left open")


def memory(daemon):
    """VmRSS in KiB."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("names, seconds", [(QUICK, 1), pytest.param(ALL, 5, marks=pytest.mark.programs)], ids=["quick", "all"])
def test_stressors(scene, capsys, nodes, names, seconds):
    """Twice: what a daemon has after the first time, it may keep."""
    busy = [scene.one, scene.two][:nodes]
    daemons = [scene.server, *(node.runs[-1] for node in busy)]
    begun = time.monotonic()
    opened = [descriptors(daemon) for daemon in daemons]
    sizes = [[memory(daemon) for daemon in daemons]]
    for _ in range(2):
        stress(scene, busy, names, seconds)
        sizes.append([memory(daemon) for daemon in daemons])
    with capsys.disabled():
        print(f"\n{len(names)} stressors, twice, on {nodes} mounts: {time.monotonic() - begun:.0f} s; VmRSS in KiB of batond and "
              f"batonfs before, after the first time and at the end: {sizes}; descriptors: {opened}, then "
              f"{[descriptors(daemon) for daemon in daemons]}")
    assert all(after < before * 1.1 + 4096 for before, after in zip(sizes[1], sizes[2])), sizes
    eventually(lambda: all(descriptors(daemon) <= before + 4 for daemon, before in zip(daemons, opened)), 20, "no descriptor is kept")


MAKE_AND_REMOVE = """
import os, sys
for number in range(int(sys.argv[2])):
    path = f"{sys.argv[1]}/a file of which nothing is left {number}"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    if number % 2: os.close(fd)
    os.unlink(path)
    if number % 2 == 0: os.close(fd)
"""


@pytest.mark.unsanitized
def test_removed_files_leave_nothing(scene):
    """The daemons keep nothing of files that are gone, not even in bounded tables."""
    def churn(files):
        scene.one.run(["/usr/bin/python3", "-c", MAKE_AND_REMOVE, scene.lab.mount_point, files], check=True, within=120)
        return [memory(daemon) for daemon in (scene.server, scene.one.runs[-1])]
    before = churn(2000)
    after = churn(8000)
    assert all(grown < size + 1024 for size, grown in zip(before, after)), (before, after)
