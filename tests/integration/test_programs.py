"""Real programs, unmodified, that keep their own locks and trees on the mount."""
import errno
import json
import re

import pytest
from lab import eventually, refused
from services import ENDINGS, PYTHON, background

GIT = "git -c user.name=x -c user.email=x@example.org -c safe.directory='*'"


def test_git(scene):
    """A repository made on one node is whole on the other."""
    scene.one.shell(f"cd {scene.lab.mount_point}; git init -q repository; cd repository; "
                    f"for n in 1 2 3; do echo $n >file$n; git add .; {GIT} commit -qm $n; done")
    scene.two.shell(f"cd {scene.at('repository')}; {GIT} fsck --strict; test $({GIT} rev-list --count HEAD) = 3")


def test_git_left_a_lock(scene, guid, other_guid):
    """git's index.lock outlives the node that held it; without stale-lock patterns (X1) git says so itself, and nothing is lost."""
    repository = scene.at("repository")
    scene.one.shell(f"cd {scene.lab.mount_point}; git init -q repository; cd repository; echo 1 >a; git add a; "
                    f"{GIT} commit -qm first; git config core.editor 'sleep 1000 #'", instance=guid)
    background(scene.one, "git", ["sh", "-c", f"echo 2 >a; exec {GIT} commit -qa"], cwd=repository, instance=guid)
    lock = scene.lab.export / "repository/.git/index.lock"
    eventually(lock.exists, 20, "git holds the index")
    with refused(errno.EEXIST):
        scene.two.python(instance=other_guid).create("repository/.git/index.lock", flags=0o200)
    scene.one.crash()
    stopped = scene.two.run(["sh", "-c", f"{GIT} commit -qam second"], cwd=repository, instance=guid)
    assert stopped.returncode != 0 and "index.lock" in stopped.stderr and "File exists" in stopped.stderr
    scene.two.shell(f"rm .git/index.lock; {GIT} commit -qam second; {GIT} fsck --strict; "
                    f"test $({GIT} rev-list --count HEAD) = 2", cwd=repository, instance=guid)


# As Lucene's NativeFSLockFactory and SimpleFSLockFactory have it: a record lock on the whole file, or the file's existence.
NATIVE_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_write_lock_of_an_index(scene, guid, other_guid, ending):
    """A Lucene-style write.lock: the next incarnation has it at once; a stranger has not, before and after the node's end."""
    command = [*PYTHON, NATIVE_LOCK, scene.at("write.lock")]
    held = scene.one.popen(command, instance=guid, stdin=-1, stdout=-1, text=True)
    assert held.stdout.readline() == "locked\n"
    assert scene.two.run(command, instance=other_guid).returncode != 0
    ENDINGS[ending](scene.one)
    assert scene.two.run(command, instance=other_guid).returncode != 0
    assert scene.two.run(command, instance=guid, check=True).stdout == "locked\n"


def storage_daemon(node, path, **who):
    drive = json.dumps({"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": path, "locking": "on"}})
    socket = f"{node.directory}/nbd-{node.name}-{len(node.processes)}"
    process = background(node, "storage-daemon", [
        "qemu-storage-daemon", "--blockdev", drive, "--nbd-server", f"addr.type=unix,addr.path={socket}",
        "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"], **who)
    return process, f"nbd+unix:///disk?socket={socket}"


@pytest.mark.parametrize("ending", ENDINGS)
def test_qemu_image(scene, guid, other_guid, ending):
    """QEMU's image locks are OFD locks: they keep out a second one on any node, and pass to the next incarnation at once."""
    path = scene.at("disk.qcow2")
    scene.one.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True, instance=guid)
    _, url = storage_daemon(scene.one, path, instance=guid)

    def written():
        return scene.one.run(["qemu-io", "-f", "raw", "-c", "write -P 7 1M 256k", "-c", "flush", url]).returncode == 0
    eventually(written, 20, "the image is written and flushed")
    refusal = scene.two.run(["qemu-io", "-c", "write 0 4k", path], instance=other_guid)
    assert refusal.returncode != 0
    ENDINGS[ending](scene.one)
    assert scene.two.run(["qemu-io", "-c", "write 0 4k", path], instance=other_guid).returncode != 0
    _, url = storage_daemon(scene.two, path, instance=guid)
    read = ["qemu-io", "-f", "raw", "-c", "read -P 7 1M 256k", "-c", "write -P 8 2M 4k", "-c", "flush", url]
    eventually(lambda: (said := scene.two.run(read)).returncode == 0 and "verification failed" not in said.stdout, 20,
               "the next incarnation has what was flushed")
    refusal = scene.two.run(["qemu-io", "-c", "write 0 4k", path])
    assert refusal.returncode != 0


TREE = """
mkdir tree tree/empty tree/deep tree/deep/er
echo text >tree/file; chmod 4751 tree/file; ln tree/file tree/deep/hard; ln -s ../file tree/deep/soft; ln -s nowhere tree/dangling
truncate -s 10M tree/sparse; printf x | dd of=tree/sparse bs=1 seek=5000000 conv=notrunc status=none
mkfifo -m 640 tree/fifo; mknod tree/character c 1 3; mknod tree/block b 7 99
setfattr -n user.note -v value tree/file; setfattr -n trusted.note -v secret tree/deep
setfacl -m u:1234:rwx,g:99:r tree/deep/er; setfacl -d -m u:1234:rx tree/empty
head -c 300000 /dev/urandom >tree/random; touch -d '1999-12-31 23:59:59.123456789' tree/random tree/deep; chown 12:34 tree/random
printf . >"$(printf 'tree/\\377\\001 name')"; chmod 1777 tree/empty; touch -h -d '2001-02-03 04:05:06.7' tree/dangling
find tree -newermt 2020-01-01 -exec touch -h -d '2003-04-05 06:07:08.9' {} +
"""
LIST = ("cd tree; { find . -printf '%p %y %m %U %G %T@ %n %l\\n' | grep -v '^\\. ' | sed -E 's/^(.* d .*) [0-9]+ $/\\1/' | LC_ALL=C sort; "
        "find . -type d -o -type f | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 getfattr -h -d -m '^(user|trusted)' -e hex --; "
        "find . -type d -o -type f | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 getfacl -n --; "
        "find . -type f | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum; stat -c '%t %T' character block; } | cat -v")
COPIES = {"cp": "cp -a {0}/tree {1}/", "rsync": "rsync -aHAXS {0}/tree {1}/",
          "tar": "tar --xattrs --xattrs-include='*' --acls -S -C {0} -cf - tree | tar --xattrs --xattrs-include='*' --acls -S -C {1} -xpf -"}


def listing(node, folder, copy):
    text = node.shell(LIST, cwd=folder)
    # rsync leaves the times of fifos and devices alone, on any disk.
    return re.sub(r"^(\./\S+ [pbc] \d+ \d+ \d+) \S+", r"\1", text, flags=re.MULTILINE) if copy == "rsync" else text


@pytest.mark.parametrize("copy", COPIES)
def test_copying_a_tree(scene, copy):
    """All kinds of entries, to the mount and from it to another disk: the same bits, modes, times, owners, links, xattrs, ACLs."""
    local, back, mount = scene.lab.directory / "local", scene.lab.directory / "back", scene.lab.mount_point
    local.mkdir()
    back.mkdir()
    scene.one.shell(TREE, cwd=local)
    scene.one.shell(COPIES[copy].format(local, mount))
    scene.two.shell(COPIES[copy].format(mount, back))
    wanted = listing(scene.one, local, copy)
    assert listing(scene.two, mount, copy) == wanted
    assert listing(scene.two, back, copy) == wanted
    assert (back / "tree/sparse").stat().st_blocks <= (local / "tree/sparse").stat().st_blocks + 16


MAKEFILE = """
objects := $(patsubst %,part%.o,$(shell seq 20))
program: main.o libparts.a
	$(CC) -o $@ main.o -L. -lparts
libparts.a: $(objects)
	$(AR) rcs $@ $^
%.o: %.c parts.h
	$(CC) -c -O1 -o $@ $<
"""


def test_make(scene):
    """A C project is built in parallel on one node; on the other make finds nothing to do, until a header is changed."""
    project = scene.lab.export / "project"
    project.mkdir()
    (project / "Makefile").write_text(MAKEFILE)
    (project / "parts.h").write_text("".join(f"int part{n}(void);\n" for n in range(1, 21)))
    for n in range(1, 21):
        (project / f"part{n}.c").write_text(f'#include "parts.h"\nint part{n}(void) {{ return {n}; }}\n')
    total = " + ".join(f"part{n}()" for n in range(1, 21))
    (project / "main.c").write_text(f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{ printf("%d", {total}); }}\n')
    there = scene.at("project")
    scene.one.run(["make", "-s", "-j2"], cwd=there, check=True, within=120)
    assert scene.two.run(["./program"], cwd=there, check=True).stdout == "210"
    assert "up to date" in scene.two.run(["make"], cwd=there, check=True).stdout
    scene.two.shell("echo >>parts.h", cwd=there)
    assert scene.one.run(["make", "-j2"], cwd=there, check=True, within=120).stdout.count(" -c ") == 21
