"""Nothing runs as root (A5): batond serves a user's directory, the same user mounts it on two nodes through fusermount3."""
import errno
import os
import signal

import pytest
from lab import eventually, refused

USER = 1000
OTHER = 1001
PORT = 7799


class Daemon:
    """batond or batonfs in the hands of USER; its log is shown if the test fails."""

    def __init__(self, place, title, argv):
        self.log = place.directory / f"{title}.log"
        place.logs.append((title, self.log))
        with open(self.log, "ab") as log:
            self.process = place.popen(argv, uid=USER, stdout=log, stderr=log)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()


class Own:
    def __init__(self, lab):
        self.lab = lab
        self.lives = 0
        self.state = lab.directory / "state-of-user"
        self.state.mkdir()
        for path in (self.state, lab.export, lab.mount_point):
            os.chown(path, USER, USER)
            path.chmod(0o755)
        self.serve()
        self.one, self.two = lab.node("one"), lab.node("two")
        for node in (self.one, self.two):
            # A device of the node's own: the machine's may be root's alone.
            node.shell(f"mkdir -p {node.directory}/dev-{node.name} && mount -t tmpfs tmpfs {node.directory}/dev-{node.name} && "
                       f"mknod -m 666 {node.directory}/dev-{node.name}/fuse c 10 229 && "
                       f"mount --bind {node.directory}/dev-{node.name}/fuse /dev/fuse")
        self.mounts = {node: self.mount(node) for node in (self.one, self.two)}

    def serve(self):
        self.lives += 1
        self.server = Daemon(self.lab.host, f"batond-of-user-{self.lives}", [
            self.lab.programs / "batond", "--export", self.lab.export, "--state-dir", self.state, "--insecure",
            "--listen", f"10.77.0.1:{PORT}"])
        eventually(lambda: " serves " in self.server.log.read_text(), 20, "batond serves")

    def mount(self, node, *options):
        words = [f"node={node.name}", "claim_wait=0.05", *options]
        mount = Daemon(node, f"batonfs-of-user-on-{node.name}", [
            self.lab.programs / "batonfs", f"10.77.0.1:{PORT}", self.lab.mount_point, "-f", "-o", ",".join(words)])
        eventually(lambda: (str(self.lab.mount_point), "fuse.batonfs") in node.mounts(), 20, "it is mounted")
        return mount

    def python(self, node, **who):
        return node.python(uid=USER, **who)


@pytest.fixture
def own(lab):
    return Own(lab)


def test_says_what_is_weaker(own):
    """A5: what a server without root cannot do as well is told at its start."""
    text = own.server.log.read_text()
    assert f"not root: only uid {USER} is served" in text
    assert "found again by name and identity" in text


def test_open_files_keep_working(own):
    """An open file is the same file whatever becomes of its names: renamed, linked, moved with its directory, removed."""
    mine, theirs = own.python(own.one), own.python(own.two)
    mine.makedirs("a/b")
    fd = mine.create("a/b/file")
    mine.write(fd, b"one ")
    mine.rename("a/b/file", "a/renamed")
    mine.write(fd, b"two ")
    mine.rename("a", "moved")
    mine.write(fd, b"three ")
    mine.fsync(fd)
    assert theirs.read_file("moved/renamed") == b"one two three "
    mine.link("moved/renamed", "link")
    mine.unlink("moved/renamed")
    assert theirs.stat("link")["st_nlink"] == 1
    other = theirs.open("link", "rw")
    theirs.rename("link", "last")
    mine.ftruncate(fd, 3)
    mine.fchmod(fd, 0o600)
    mine.utime(fd, (1, 2))
    assert mine.fstat(fd)["st_mtime"] == 2
    theirs.unlink("last")
    assert theirs.listdir(".") == ["moved"]
    mine.pwrite(fd, b"gone", 0)
    mine.fsync(fd)
    assert theirs.pread(other, 10) == b"gone"
    assert theirs.fstat(other)["st_nlink"] == 0
    assert mine.fstat(fd)["st_size"] == 4


def test_names_and_attributes(own):
    """The rest of what a user does with files, from both nodes."""
    mine, theirs = own.python(own.one), own.python(own.two)
    mine.mkdir("d")
    for number in range(300):
        mine.close(mine.create(f"d/{number}"))
    assert sorted(theirs.listdir("d")) == sorted(str(number) for number in range(300))
    theirs.rename("d/1", "d/2")
    with refused(errno.ENOENT):
        mine.stat("d/1")
    mine.symlink("d/2", "s")
    assert theirs.readlink("s") == "d/2"
    theirs.write_file("s", b"through the link")
    assert mine.read_file("d/2") == b"through the link"
    mine.chmod("d/2", 0o400)
    with refused(errno.EACCES):
        theirs.open("d/2", "rw")
    theirs.setxattr("d/3", "user.x", b"y")
    assert mine.getxattr("d/3", "user.x") == b"y"
    with refused(errno.EPERM):
        mine.chown("d/3", OTHER, OTHER)
    mine.mkdir("closed", 0o644)
    theirs.chmod("closed", 0o700)   # though the server itself may not search it
    theirs.rmdir("closed")
    mine.mkfifo("fifo")
    with refused(errno.ENOTEMPTY):
        theirs.rmdir("d")
    theirs.rename("d", "e")
    assert mine.stat("e/2")["st_uid"] == USER
    assert mine.run("result = os.statvfs('.').f_namemax") == os.statvfs(own.lab.export).f_namemax


def test_renamed_on_the_server_itself(own):
    """A5: a name that changed past the server is found by its next lookup; what is open is not lost."""
    mine = own.python(own.one)
    fd = mine.create("file")
    mine.write(fd, b"text")
    (own.lab.export / "file").rename(own.lab.export / "elsewhere")
    mine.pwrite(fd, b"T", 0)
    assert mine.fstat(fd)["st_size"] == 4
    assert mine.read_file("elsewhere") == b"Text"
    with refused(errno.ENOENT):
        mine.stat("file")


def test_takeover_between_two_nodes(own, guid, other_guid):
    """T1, T6, O2: identity, claims, takeover and fence need no root."""
    old = own.python(own.one, instance=guid)
    fd = old.create("data")
    old.write(fd, b"old")
    old.lock(fd, "w")
    for stranger in (own.python(own.two, instance=other_guid), own.python(own.two)):
        assert stranger.read_file("data") == b"old"
        with refused(errno.EBUSY):
            stranger.open("data", "rw")
    own.one.cut()
    new = own.python(own.two, instance=guid)
    mine = new.open("data", "rw")
    new.lock(mine, "w")
    new.pwrite(mine, b"new")
    own.one.mend()
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    assert (own.lab.export / "data").read_bytes() == b"new"


def test_after_a_restart_of_the_server(own):
    """A5: a later life of the server knows no names yet; paths are looked up anew."""
    mine = own.python(own.one, cwd="/")
    path = f"{own.lab.mount_point}/a/b"
    mine.makedirs(path)
    mine.write_file(f"{path}/file", b"text")
    inside = own.python(own.one, cwd=path)
    own.server.end()
    own.serve()

    def read():
        try:
            return mine.read_file(f"{path}/file")
        except OSError as error:
            assert error.errno == errno.ESTALE   # the session that the server's end took with it
            return None
    assert eventually(read, 20) == b"text"
    assert inside.read_file("file") == b"text", "somebody's path has led to its directory again"
    mine.write_file(f"{path}/file", b"more")
    assert (own.lab.export / "a/b/file").read_bytes() == b"more"


def test_nobody_else(own):
    """A1: the kernel keeps everybody else out, root too; with allow_other, the server does."""
    own.python(own.one).write_file("mine", b"text")
    os.chmod(own.lab.export / "mine", 0o666)
    for uid in (OTHER, 0):
        stranger = own.one.python(uid=uid, cwd="/")
        for attempt in (lambda s=stranger: s.listdir(str(own.lab.mount_point)),
                        lambda s=stranger: s.read_file(f"{own.lab.mount_point}/mine"),
                        lambda s=stranger: s.create(f"{own.lab.mount_point}/theirs")):
            with refused(errno.EACCES):
                attempt()
    own.mounts[own.one].end()
    conf = own.lab.directory / "fuse.conf"
    conf.write_text("user_allow_other\n")
    own.one.shell(f"mount --bind {conf} /etc/fuse.conf")
    own.mount(own.one, "allow_other")
    assert own.python(own.one).read_file("mine") == b"text"
    for uid in (OTHER, 0):
        stranger = own.one.python(uid=uid, cwd="/")
        with refused(errno.EACCES):
            stranger.read_file(f"{own.lab.mount_point}/mine")
        with refused(errno.EACCES, errno.EPERM):
            stranger.create(f"{own.lab.mount_point}/theirs")
    assert own.lab.names() == ["mine"]


def test_mount_in_the_background(own):
    """Without -f it returns when the mount is usable; fusermount3 -u ends it cleanly."""
    own.mounts[own.two].end()
    node = own.two
    node.run([own.lab.programs / "batonfs", f"10.77.0.1:{PORT}", own.lab.mount_point], uid=USER, check=True)
    program = own.python(node)
    program.write_file("file", b"text")
    program.kill()
    program.exited()
    node.run(["fusermount3", "-u", own.lab.mount_point], uid=USER, check=True)
    eventually(lambda: (str(own.lab.mount_point), "fuse.batonfs") not in node.mounts(), 10)
    assert (own.lab.export / "file").read_bytes() == b"text"


def test_guard_has_the_switch(own):
    """S5: the kernel's switch of the mount is its owner's, so that a batonfs that dies leaves nothing hanging."""
    daemon = own.mounts[own.one].process.pid
    children = open(f"/proc/{daemon}/task/{daemon}/children", encoding="ascii").read().split()
    guard, = [child for child in children if open(f"/proc/{child}/comm", encoding="ascii").read() == "baton-guard\n"]

    def has_switch():
        return any(os.readlink(f"/proc/{guard}/fd/{fd}").endswith("/abort") for fd in os.listdir(f"/proc/{guard}/fd"))
    eventually(has_switch, 10, "the guard was told of the mount")
    program = own.python(own.one)
    os.kill(daemon, signal.SIGKILL)
    with refused(errno.ENOTCONN, errno.ECONNABORTED):
        eventually(lambda: program.listdir(".") and False, 10, "the mount is dead")
