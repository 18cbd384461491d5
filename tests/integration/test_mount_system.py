"""The mount in its system: mount(8) and fstab, users that are not root, options of the kernel, pid namespaces (issue 2, part 2)."""
import errno
import os
import pathlib
import signal

import pytest
from lab import eventually, refused
from lab.place import PYTHON


@pytest.fixture
def bench(lab):
    """A server and a node that has mount.batonfs where mount(8) looks for it."""
    lab.server()
    node = lab.node("one")
    for name in ("sbin", "work"):
        (lab.directory / name).mkdir()
    (lab.directory / "sbin" / "mount.batonfs").symlink_to(lab.programs / "batonfs")
    node.shell(f"mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir={lab.directory}/sbin,workdir={lab.directory}/work "
               "/usr/sbin")
    return node


def options_of(node, point=None):
    """The mount's own options and its file system's, or none if nothing is mounted there."""
    for line in pathlib.Path(f"/proc/{node.pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == str(point or node.lab.mount_point) and " - fuse.batonfs " in line:
            return set(fields[5].split(",")) | set(fields[-1].split(","))
    return None


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):   # it ended since it was listed
        return None


def daemons(node):
    """Of the node's batonfs processes the ones that stay."""
    return [pid for pid in node.pids() if name_of(pid) in ("batonfs", "mount.batonfs")]


@pytest.mark.parametrize("flags", ["", "-n", "-v", "-s", "-nsv", "-r"])
def test_mount_command(bench, flags):
    """mount -t batonfs, with the flags that mount(8) hands on: usable when it returns, and /proc/mounts shows what it is."""
    point = bench.lab.mount_point
    bench.shell(f"mount {flags} -t batonfs -o node=web 10.77.0.1:7740 {point}")
    assert bench.shell(f"findmnt -n -o SOURCE,FSTYPE {point}").split() == ["10.77.0.1:7740", "fuse.batonfs"]
    assert ("ro" in options_of(bench)) == (flags == "-r")
    assert [session["node"] for session in bench.lab.the_server.listing("sessions")] == ["web"]
    bench.shell(f"umount {point}")
    assert options_of(bench) is None
    eventually(lambda: daemons(bench) == [], 10, "batonfs ends with umount")
    assert bench.lab.the_server.listing("sessions") == []


def test_fake_mount(bench):
    """mount -f mounts nothing; -v says what is done."""
    result = bench.run(["mount", "-f", "-v", "-t", "batonfs", "10.77.0.1:7740", bench.lab.mount_point])
    assert result.returncode == 0, result.stderr
    assert options_of(bench) is None and daemons(bench) == []


def test_sloppy_mount(bench):
    """mount -s bears unknown options; without it they are an error that names them, and mount(8) hands on the status."""
    words = ["-t", "batonfs", "-o", "wild=1", "10.77.0.1:7740", bench.lab.mount_point]
    strict = bench.run(["mount", *words])
    assert strict.returncode != 0 and "wild" in strict.stderr
    assert options_of(bench) is None
    assert bench.run(["mount", "-s", *words]).returncode == 0
    bench.shell(f"umount {bench.lab.mount_point}")


@pytest.mark.parametrize("source", ["10.77.0.1", "10.77.0.1:7740", "10.77.0.1:1,10.77.0.1"])
def test_fstab(bench, source):
    """From /etc/fstab: mount -a and mount MOUNTPOINT, with the options that are for mount(8) or systemd; umount -a ends it."""
    point = bench.lab.mount_point
    fstab = bench.lab.directory / "fstab"
    fstab.write_text(f"{source} {point} batonfs node=web,_netdev,nofail,x-systemd.requires=network.target,noatime,noexec 0 0\n")
    bench.shell(f"mount --bind {fstab} /etc/fstab; mount -a")
    assert {"noexec", "nosuid", "nodev", "rw"} <= options_of(bench)
    daemon = daemons(bench)
    bench.shell("mount -a")
    assert daemons(bench) == daemon   # what is mounted already is left alone
    bench.shell(f"umount {point}")
    eventually(lambda: daemons(bench) == [], 10)
    bench.shell(f"mount {point}")
    assert [session["node"] for session in bench.lab.the_server.listing("sessions")] == ["web"]
    bench.shell("umount -a -t fuse.batonfs")
    assert options_of(bench) is None


def test_server_that_is_not_there(bench):
    """A server that does not answer is a clear error on the terminal with a status that is not 0, in the foreground too."""
    for words in (["10.77.0.1:1"], ["10.77.0.1:1", "-f"], ["no-such-host.invalid"]):
        result = bench.run([bench.lab.programs / "batonfs", words[0], bench.lab.mount_point, *words[1:]], within=40)
        assert result.returncode != 0
        assert words[0] in result.stderr
        assert options_of(bench) is None


@pytest.mark.parametrize("make, said", [
    (lambda point: point.rmdir(), "No such file"),
    (lambda point: (point.rmdir(), point.write_text("")), "not a directory"),
])
def test_bad_mount_point(bench, make, said):
    """A mount point that is none is said."""
    make(bench.lab.mount_point)
    result = bench.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point])
    assert result.returncode != 0
    assert said in result.stderr and str(bench.lab.mount_point) in result.stderr


def test_mounted_twice(bench):
    """S3: a second mount at the same place would end the first one's session; it is refused, and the first goes on."""
    bench.mount()
    program = bench.python()
    fd = program.create("data")
    result = bench.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point, "-o", "node=one"])
    assert result.returncode != 0
    assert str(bench.lab.mount_point) in result.stderr and "already" in result.stderr
    program.pwrite(fd, b"goes on")


def test_node_name_in_use(bench):
    """S3: the name of another machine's mount is refused with a line that names it, and a status that is not 0."""
    bench.mount(node="web")
    other = bench.lab.node("two")
    result = other.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point, "-o", "node=web"], within=40)
    assert result.returncode != 0
    assert "web" in result.stderr and "machine" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_foreground_is_one_process(bench):
    """With -f it stays the process that was started, child of who started it, and logs to stderr."""
    mount = bench.mount()
    eventually(lambda: daemons(bench) == [mount.pid], 10, "its guard has a name of its own")
    eventually(lambda: f"[{mount.pid}]" in mount.log() and "is mounted" in mount.log(), 10, "it logs that it is mounted")


def test_log_file(bench):
    """-o log=FILE: there, also if the path is relative and it goes to the background."""
    bench.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point, "-o", "log=mount.log"],
              cwd=bench.lab.directory, check=True)
    bench.shell(f"umount {bench.lab.mount_point}")
    eventually(lambda: "unmounted" in (bench.lab.directory / "mount.log").read_text(), 10)
    result = bench.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point, "-o", "log=/proc/none/log"])
    assert result.returncode != 0 and "/proc/none/log" in result.stderr


def test_set_uid_and_devices(bench):
    """Set-uid bits and device files are honoured only with suid and dev."""
    bench.mount("noatime")
    assert {"nosuid", "nodev"} <= options_of(bench)
    bench.runs[0].unmount()
    bench.mount("suid", "dev")
    assert not {"nosuid", "nodev"} & options_of(bench)
    node = bench.python()
    node.mknod("null", 0o020666, os.makedev(1, 3))
    assert bench.shell(f"echo text >{bench.lab.mount_point}/null; cat {bench.lab.mount_point}/null") == ""


def test_other_users(bench):
    """As root, allow_other is the default: every user may use the mount."""
    bench.mount("claim_wait=0")
    assert "allow_other" in options_of(bench)
    assert bench.python(uid=1000).listdir(".") == []


def test_mounted_by_a_user(bench):
    """A user that is not root mounts through fusermount3; nobody else may look, unless allow_other is said and permitted."""
    lab = bench.lab
    os.chown(lab.mount_point, 1000, 1000)
    bench.shell("chmod 666 /dev/fuse")
    batonfs = [lab.programs / "batonfs", "10.77.0.1", lab.mount_point]
    try:
        bench.run(batonfs, uid=1000, check=True)
        assert {"user_id=1000", "nosuid", "nodev"} <= options_of(bench)
        assert bench.run(["touch", lab.mount_point / "mine"], uid=1000).returncode == 0
        assert (lab.export / "mine").stat().st_uid == 1000
        assert bench.run(["ls", lab.mount_point], uid=1001).returncode != 0
        bench.run(["fusermount3", "-u", lab.mount_point], uid=1000, check=True)
        eventually(lambda: daemons(bench) == [], 10)
        conf = lab.directory / "fuse.conf"
        for text, allowed in (("", False), ("user_allow_other\n", True)):
            conf.write_text(text)
            bench.shell(f"mount --bind {conf} /etc/fuse.conf")
            result = bench.run([*batonfs, "-o", "allow_other"], uid=1000)
            assert (result.returncode == 0) == allowed
            assert allowed or "allow_other" in result.stderr
        assert bench.run(["ls", lab.mount_point], uid=1001).returncode == 0
        pid, = daemons(bench)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: options_of(bench) is None and daemons(bench) == [], 10, "SIGTERM unmounts what a user mounted")
    finally:
        bench.shell("chmod 600 /dev/fuse")


@pytest.mark.parametrize("option", ["unidentified=refuse", "unidentified=anonymous"])
def test_processes_that_cannot_be_seen(bench, guid, option):
    """I5: a process outside the mount's pid namespace is unidentified: it reads, and changes only where a directory's id
    says whose it is, unless the mount says unidentified=anonymous."""
    lab = bench.lab
    (lab.export / "of-x").mkdir()
    (lab.export / "of-x").chmod(0o777)
    os.setxattr(lab.export / "of-x", "user.app_instance_id", guid.encode())
    (lab.export / "data").write_text("text")
    bench.popen(["unshare", "--pid", "--fork", "--kill-child", "--", lab.programs / "batonfs", "10.77.0.1", lab.mount_point, "-f",
                 "-o", option], stdout=open(lab.directory / "mount.log", "wb"), stderr=open(lab.directory / "mount.err", "wb"))
    eventually(lambda: options_of(bench), 20, "it is mounted")
    program = bench.python(instance=guid)
    assert program.read_file("data") == b"text"
    program.create("of-x/data")
    assert program.holders("of-x/data")[0][1] == guid
    if option.endswith("anonymous"):
        program.create("fresh")
        assert program.holders("fresh")[0][1] == "-"
    else:
        for attempt in (lambda: program.create("fresh"), lambda: program.open("data", "rw"), lambda: program.unlink("data"),
                        lambda: program.truncate("data", 0), lambda: program.mkdir("fresh")):
            with refused(errno.EACCES):
                attempt()


@pytest.mark.parametrize("how", ["umount -f", "umount -l", "fusermount3 -u -z"])
def test_unmount_while_the_server_is_stopped(bench, how):
    """S5: whoever waits for a stopped server is let go by umount -f; every way of unmounting ends batonfs without it."""
    server = bench.lab.the_server
    mount = bench.mount()
    program = bench.python(cwd="/")
    fd = program.create(f"{bench.lab.mount_point}/data")
    server.freeze()
    call = program.start_call("os.pwrite", fd, b"text", 0).waits()
    bench.run(["sh", "-c", f"{how} {bench.lab.mount_point}"], within=15)
    if how == "umount -f":
        with refused(errno.ECONNABORTED, errno.ENOTCONN, errno.EIO):
            call.result(10)
        program.kill()
        program.exited()
        bench.run(["umount", bench.lab.mount_point])  # batonfs itself may have been quicker; looked at below
    else:
        program.signal(signal.SIGKILL)
        program.exited(10)
    mount.process.wait(15)
    assert options_of(bench) is None
    server.thaw()


@pytest.mark.parametrize("call", ["write", "open", "stat", "fsync", "close"])
def test_kill_while_the_server_is_stopped(bench, call):
    """S5: kill -9 gets a process out that waits for a server that stopped without a word; also one with dirty pages."""
    server = bench.lab.the_server
    bench.mount()
    program = bench.python()
    fd = program.create("data")
    program.pwrite(fd, b"1" * 4096)
    area = program.map(fd, 4096)
    program.store(area, 0, b"dirty")
    server.freeze()
    start = {"write": lambda: program.start_call("os.pwrite", fd, b"text", 0), "stat": lambda: program.start_call("os.stat", "none"),
             "open": lambda: program.start_call("open", "data", os.O_RDWR), "fsync": lambda: program.start_call("os.fsync", fd),
             "close": lambda: program.start_call("os.close", fd)}[call]
    start().waits()
    program.signal(signal.SIGKILL)
    program.exited(10)
    server.thaw()
    other = bench.python()
    assert len(other.read_file("data")) == 4096


def test_end_while_the_server_is_stopped(bench):
    """SIGTERM ends the mount though the server does not answer."""
    mount = bench.mount()
    bench.lab.the_server.freeze()
    mount.process.terminate()
    mount.process.wait(15)
    assert options_of(bench) is None
    bench.lab.the_server.thaw()


def test_a_shell_that_mounts_may_go_away(bench):
    """It belongs to no terminal and no session of whoever started it: an end of that session does not end it."""
    script = (f"import subprocess, os, signal; subprocess.run(['{bench.lab.programs}/batonfs', '10.77.0.1', '{bench.lab.mount_point}'], "
              "check=True); os.killpg(0, signal.SIGHUP)")
    bench.run([PYTHON, "-c", script])
    assert options_of(bench)
    bench.shell(f"ls {bench.lab.mount_point}; umount {bench.lab.mount_point}")
