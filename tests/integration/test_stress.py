"""stress-ng's file system stressors, verifying: none finds what it does not find on a local directory of the same disk; nothing is
left open; the daemons' memory does not grow."""
import pathlib

import pytest
from lab import eventually

QUICK = ("copy-file", "fallocate", "fpunch", "lockf", "rename", "seek", "xattr")
# All that want no device, no capability of a file system that FUSE passes nothing of, and no file of the machine.
ALL = ("access", "aio", "aiol", "chattr", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep", "dirmany", "dnotify",
       "fallocate", "fanotify", "fault", "fcntl", "fiemap", "file-ioctl", "filename", "flock", "fpunch", "fsize", "fstat", "getdent",
       "handle", "hdd", "inode-flags", "inotify", "io", "iomix", "io-uring", "lease", "link", "locka", "lockf", "lockofd", "madvise",
       "mknod", "msync", "open", "readahead", "rename", "revio", "seek", "sendfile", "splice", "symlink", "sync-file", "touch", "utime",
       "verity", "xattr")
OF_ONE_DIRECTORY = 2   # processes


def start(node, name, seconds, directory):
    return node.popen(["stress-ng", f"--{name}", OF_ONE_DIRECTORY, "--timeout", seconds, "--verify", "--oomable", "--temp-path",
                       directory], stdout=-1, stderr=-2, text=True)


def failed(process, name, seconds):
    """What it says if it found something; not that it has nothing to do here (3, 4)."""
    said = process.communicate(timeout=seconds + 600)[0]   # each ends when it has done what it has begun
    return said if process.returncode not in (0, 3, 4) or "fail:" in said else None


def memory(daemon):
    """VmRSS in KiB."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def stress(scene, nodes, names, seconds, local):
    """Each stressor on all the nodes at once; what it finds it has to find on the local disk, too."""
    for name in names:
        running = [start(node, name, seconds, scene.lab.mount_point) for node in nodes]
        found = [said for process in running if (said := failed(process, name, seconds))]
        if found:
            assert failed(start(scene.one, name, seconds, local), name, seconds), f"{name}: " + "\n".join(found)


@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("names, seconds", [(QUICK, 1), pytest.param(ALL, 5, marks=pytest.mark.programs)], ids=["quick", "all"])
def test_stressors(scene, nodes, names, seconds):
    local = scene.lab.directory / "local"
    local.mkdir()
    busy = [scene.one, scene.two][:nodes]
    daemons = [scene.server, *(node.runs[-1] for node in busy)]
    stress(scene, busy, names, seconds, local)
    middle = [memory(daemon) for daemon in daemons]
    stress(scene, busy, names, seconds, local)
    eventually(lambda: scene.server.listing("opens") == [] and scene.server.listing("locks") == [], 20, "nothing is left open")
    end = [memory(daemon) for daemon in daemons]
    assert all(after < before * 1.2 + 4096 for before, after in zip(middle, end)), (middle, end)
