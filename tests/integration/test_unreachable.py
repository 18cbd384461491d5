"""S5: a server that cannot be reached, as programs, df, umount and the operator meet it; several addresses; a mount that comes
up before its server. What the calls of one program do on a cut link is in test_sessions.py, unmounting in test_mount_system.py."""
import errno
import json
import os
import signal
import subprocess
import time
import types

import pytest
from lab import LinkDown, PacketsDropped, eventually, refused
from lab.server import Server

CUTS = pytest.mark.parametrize("how", [LinkDown, PacketsDropped], ids=["link-down", "packets-dropped"])


def address(text):
    """For node.mount(server=...)."""
    return types.SimpleNamespace(address=text)


def mount_status(node, point=None, cwd="/", within=5):
    """(exit code, object) of baton mount-status --json; it never hangs."""
    words = [node.lab.programs / "baton", "mount-status", str(point or node.lab.mount_point), "--json"]
    result = node.run(words, cwd=cwd, within=within)
    assert result.stderr == "", result.stderr
    return result.returncode, json.loads(result.stdout)


def in_state(node, state, within=10):
    """Waits until the mount says that it is in this state; what else it says then."""
    return eventually(lambda: (said := mount_status(node)[1])["state"] == state and said, within, f"{node.name} is {state}")


def unreachable(scene_or_lab, node, how):
    """The server stops without a word, or the link goes; returns when the mount knows."""
    if how == "stopped":
        scene_or_lab.the_server.freeze()
    else:
        node.cut(how)
    return in_state(node, "broken")


AWAY = pytest.mark.parametrize("how", ["stopped", LinkDown, PacketsDropped], ids=["stopped", "link-down", "packets-dropped"])


@pytest.fixture
def bench(lab):
    """A server and a node."""
    lab.server()
    return lab.node("one")


@pytest.fixture(autouse=True)
def thawed(lab):
    yield
    for server in lab.servers:
        if server.frozen:
            server.thaw()


# --- What waits, and what does not ---------------------------------------------------------------------------------------


@AWAY
def test_df_and_umount(bench, how):
    """S5: df shows the last figures, and umount(8), which looks at the root too, unmounts: neither waits for the server."""
    mount = bench.mount()
    point = bench.lab.mount_point
    figures = ["df", "--output=size,target", point]
    before = bench.run(figures, check=True).stdout
    unreachable(bench.lab, bench, how)
    assert bench.run(figures, within=5, check=True).stdout == before
    bench.run(["umount", point], within=5, check=True)
    assert mount.process.wait(15) == 0


def test_df_and_umount_at_once(bench):
    """S5: likewise while the mount does not know yet that its server is gone."""
    mount = bench.mount()
    bench.lab.the_server.freeze()
    bench.run(["df", bench.lab.mount_point], within=10, check=True)
    bench.run(["df"], within=10)
    bench.run(["umount", bench.lab.mount_point], within=10, check=True)
    assert mount.process.wait(15) == 0


@AWAY
def test_ls_waits_until_interrupted_or_mended(bench, how):
    """S5: ls waits, ^C and kill -9 end it; one that is left alone gets its answer when the server is back."""
    bench.mount()
    (bench.lab.export / "data").write_text("text")
    unreachable(bench.lab, bench, how)
    def listing():
        program = bench.popen(["ls", bench.lab.mount_point], stdout=subprocess.PIPE, text=True)
        eventually(lambda: mount_status(bench)[1]["waiting"] == 1, 10, "it waits")
        return program
    for number in (signal.SIGINT, signal.SIGKILL):
        program = listing()
        program.send_signal(number)
        assert program.wait(5) == -number
        eventually(lambda: mount_status(bench)[1]["waiting"] == 0, 10, "its request is given up")
    patient = listing()
    bench.mend()
    if how == "stopped":
        bench.lab.the_server.thaw()
    assert patient.communicate(timeout=10)[0] == "data\n"


CALLS = {
    "read": lambda program, fd: program.start_call("os.pread", fd, 4, 0),
    "write": lambda program, fd: program.start_call("os.pwrite", fd, b"text", 0),
    "fsync": lambda program, fd: program.start_call("os.fsync", fd),
    "open": lambda program, _fd: program.start_call("open", "data", os.O_RDWR),
    "create": lambda program, _fd: program.start_call("open", "new", os.O_RDWR | os.O_CREAT | os.O_EXCL),
    "stat": lambda program, _fd: program.start_call("os.stat", "data"),
    "list": lambda program, _fd: program.start_call("os.listdir", "."),
    "lock": lambda program, fd: program.start_call("lock", fd, "w"),
    "close": lambda program, fd: program.start_call("os.close", fd),
}


@pytest.mark.parametrize("call", CALLS)
def test_op_timeout(bench, call):
    """S5: with op_timeout each kind of call fails with ETIMEDOUT, whether or not the mount knew; then all is well again."""
    bench.mount("op_timeout=0.5", "attr_timeout=0")
    program = bench.python()
    fd = program.create("data", flags=os.O_DIRECT if call == "read" else 0)
    program.lock(fd, "r")
    bench.lab.the_server.freeze()
    for _ in range(2):
        waiting = CALLS[call](program, fd)
        with refused(errno.ETIMEDOUT):
            waiting.result(10)
        if call == "close":
            break
        in_state(bench, "broken")
    bench.lab.the_server.thaw()
    in_state(bench, "live")
    other = bench.python()
    other.pwrite(other.open("data", "rw"), b"good")
    assert (bench.lab.export / "data").read_bytes() == b"good"


def test_op_timeout_of_an_open_behind_a_write_of_unknown_fate(bench):
    """S5: an open that waits for the fate of a write that was given up waits no longer than op_timeout either."""
    bench.mount("op_timeout=0.5", "attr_timeout=100")
    program = bench.python()
    fd = program.create("data")
    program.fstat(fd)
    bench.lab.the_server.freeze()
    with refused(errno.ETIMEDOUT):
        program.start_call("os.pwrite", fd, b"text", 0).result(10)
    with refused(errno.ETIMEDOUT):   # by a way that looks nothing up
        program.start_call("open", f"/proc/self/fd/{fd}", os.O_RDWR).result(10)


@pytest.mark.parametrize("pages", ["clean", "dirty"])
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_process_that_ends_while_the_server_is_away(lab, end, pages):
    """S5: a process that ends by itself, or is killed while it computes, is not kept for ever by the FLUSH of what it wrote, nor by
    the dirty pages that it must write back. No signal reaches a process that is ending."""
    lab.server("--lease", "1s")
    node = lab.node("one")
    node.mount()
    program = node.python()
    fd = program.create("data")
    program.pwrite(fd, b"1" * 4096)
    program.lock(fd, "w")
    if pages == "dirty":
        program.store(program.map(fd, 4096), 0, b"dirty")
    lab.the_server.freeze()
    if end == "exit":
        program.start_call("os._exit", 0)
    else:
        program.signal(signal.SIGKILL)
    program.exited(15)


def test_pages_of_a_process_that_ended_in_a_pause(bench):
    """S1, S5: within the lease a process that ends waits for its dirty pages: a pause loses nothing."""
    bench.mount()
    program = bench.python()
    fd = program.create("data")
    program.pwrite(fd, b"1" * 4096)
    program.store(program.map(fd, 4096), 0, b"dirty")
    bench.lab.the_server.freeze()
    program.start_call("os._exit", 0)
    in_state(bench, "broken")
    bench.lab.the_server.thaw()
    program.exited(15)
    assert (bench.lab.export / "data").read_bytes()[:5] == b"dirty"


@AWAY
def test_end_of_the_mount_while_requests_wait(bench, how):
    """S5: SIGTERM ends batonfs in bounded time though programs wait in every kind of call, and lets them go."""
    mount = bench.mount()
    programs = [(bench.python(), call) for call in CALLS]
    opened = [(program, call, program.create(f"{call}-file")) for program, call in programs]
    programs[0][0].create("data")
    unreachable(bench.lab, bench, how)
    waiting = [CALLS[call](program, fd) for program, call, fd in opened if call != "read"]
    for call in waiting:
        call.waits()
    began = time.monotonic()
    mount.process.terminate()
    assert mount.process.wait(15) == 0
    assert time.monotonic() - began < 10
    for call in waiting:
        with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EINTR):
            call.result(10)


# --- A mount that comes up before its server ---------------------------------------------------------------------------------


@pytest.fixture
def early(lab):
    """A node whose server has not been started."""
    lab.server(start=False)
    return lab.node("one")


@pytest.mark.parametrize("how", [None, LinkDown, PacketsDropped], ids=["refused", "link-down", "packets-dropped"])
def test_background_mount(early, how):
    """S5: -o background_mount is there before its server; who comes early waits as in a break, and has his answer when the
    server comes."""
    (early.lab.export / "data").write_text("text")
    if how:
        early.cut(how)
    point = early.lab.mount_point
    batonfs = [early.lab.programs / "batonfs", "10.77.0.1", point, "-o", "background_mount,node=one"]
    early.run(batonfs, within=10, check=True)
    assert (str(point), "fuse.batonfs") in early.mounts()
    code, said = mount_status(early)
    assert (code, said["state"], said["session"], said["server"]) == (3, "connecting", None, None)
    eventually(lambda: "10.77.0.1:7740" in (mount_status(early)[1]["trouble"] or ""), 5)
    program = early.python(cwd="/")
    call = program.start_call("read_file", f"{point}/data").waits()
    said = eventually(lambda: (said := mount_status(early)[1])["waiting"] == 1 and said, 5)
    assert said["oldest"]["pid"] == program.pid and said["oldest"]["age_micros"] > 0
    early.mend()
    early.lab.the_server.start()
    assert call.result(10) == b"text"
    assert mount_status(early)[0] == 0
    program.write_file(f"{point}/new", b"good")
    assert (early.lab.export / "new").read_bytes() == b"good"
    assert program.stat(str(point))["st_ino"] == early.lab.export.stat().st_ino
    early.shell(f"umount {point}")


def test_background_mount_of_a_server_that_is_there(bench):
    """A server that answers is used at once: the mount is live when batonfs returns."""
    bench.run([bench.lab.programs / "batonfs", "10.77.0.1", bench.lab.mount_point, "-o", "background_mount"], within=10, check=True)
    code, said = mount_status(bench)
    assert (code, said["state"], said["server"]) == (0, "live", "10.77.0.1:7740")
    assert said["options"]["background_mount"] is True
    bench.shell(f"umount {bench.lab.mount_point}")


@pytest.mark.parametrize("how", ["umount", "umount -f", "umount -l", "SIGTERM"])
def test_end_of_a_background_mount(early, how):
    """S5: df, ^C, kill -9 and every way to end it work on a mount that never had a server."""
    mount = early.mount("background_mount")
    point = early.lab.mount_point
    early.run(["df", point], within=5, check=True)
    early.run(["mountpoint", point], within=5, check=True)
    for number in (signal.SIGINT, signal.SIGKILL):
        waiting = early.popen(["ls", point])
        eventually(lambda: mount_status(early)[1]["waiting"] == 1, 10, "ls waits")
        waiting.send_signal(number)
        assert waiting.wait(5) == -number
    if how == "SIGTERM":
        mount.process.terminate()
    else:
        early.shell(f"{how} {point}")
    assert mount.process.wait(10) == 0
    assert early.mounts().count((str(point), "fuse.batonfs")) == 0


def test_background_mount_with_op_timeout(early):
    """S5: op_timeout counts for who comes before the server, too."""
    early.mount("background_mount", "op_timeout=0.5")
    program = early.python(cwd="/")
    for _ in range(2):
        with refused(errno.ETIMEDOUT):
            program.start_call("os.listdir", str(early.lab.mount_point)).result(10)
    early.lab.the_server.start()
    in_state(early, "live")
    assert program.listdir(str(early.lab.mount_point)) == []


def test_background_mount_that_is_refused(bench):
    """S3: what batond refuses is said in the log and by mount-status; when the reason goes, the mount comes up."""
    first = bench.mount(node="web")
    other = bench.lab.node("two")
    mount = other.mount("background_mount", node="web")
    said = eventually(lambda: (said := mount_status(other)[1])["refusal"] and said, 10, "the refusal is known")
    assert (said["state"], said["refusal"]) == ("connecting", "node-in-use")
    assert "web" in said["trouble"] and "another machine" in said["trouble"]
    assert "another machine" in mount.log()
    readable = other.run([bench.lab.programs / "baton", "mount-status", bench.lab.mount_point])
    assert readable.returncode == 3 and "node-in-use" in readable.stdout
    first.unmount()
    assert in_state(other, "live")["refusal"] is None


def test_background_mount_forgets_no_fence(scene, guid):
    """T7: who waits for the first session of a new run is judged by the fences of this boot, as if he had come later."""
    old = scene.one.python(cwd="/", instance=guid)
    old.create(scene.at("data"))
    scene.two.python(instance=guid).open("data", "rw")
    eventually(lambda: mount_status(scene.one)[1]["fences"] == 1, 10, "the fence is known there")
    eventually(lambda: scene.one.restarted(scene.at("data"), mode="r", instance=guid), 10, "and acknowledged")
    fenced = mount_status(scene.one)[1]["fence_list"]
    scene.one.kill_mount()
    scene.one.cut()
    scene.lab.mount_options = ("background_mount", "claim_wait=0.05")
    scene.one.mount()
    call = old.start_call("open", scene.at("data"), os.O_RDWR).waits()
    scene.one.mend()
    with refused(errno.ESTALE):
        call.result()
    assert fenced[0]["guid"] == guid
    assert guid in {fence["guid"] for fence in mount_status(scene.one)[1]["fence_list"]}


# --- Several addresses ---------------------------------------------------------------------------------------------------------

BLACKHOLE = ("nft 'add table inet hole; add chain inet hole out {{ type filter hook output priority 0; }}; "
             "add rule inet hole out ip daddr {} drop'")


@pytest.fixture
def two_addresses(bench):
    """The server is at 10.77.0.1 and at 10.77.0.201."""
    bench.lab.host.shell("ip addr add 10.77.0.201/24 dev br0; nft 'add table ip nat; "
                         "add chain ip nat pre { type nat hook prerouting priority dstnat; }; "
                         "add rule ip nat pre ip daddr 10.77.0.201 dnat to 10.77.0.1'")
    return bench


def test_dead_address_holds_up_nobody(two_addresses):
    """The first of the addresses swallows everything: the second is used soon, at the start."""
    node = two_addresses
    node.shell(BLACKHOLE.format("10.77.0.1"))
    began = time.monotonic()
    node.mount(server=address("10.77.0.1,10.77.0.201:7740"))
    assert time.monotonic() - began < 3
    said = in_state(node, "live")
    assert (said["server"], said["servers"]) == ("10.77.0.201:7740", "10.77.0.1,10.77.0.201:7740")


def test_address_that_dies(two_addresses):
    """S1: when one way to the server dies, the session goes on over the other; the one that worked last comes first then."""
    node = two_addresses
    node.mount(server=address("10.77.0.1,10.77.0.201"))
    program = node.python()
    fd = program.create("data")
    program.lock(fd, "w")
    session = in_state(node, "live")["session"]
    assert mount_status(node)[1]["server"] == "10.77.0.1:7740"
    node.shell(BLACKHOLE.format("10.77.0.1"))
    call = program.start_call("os.pwrite", fd, b"other way", 0)
    assert call.result(10) == 9
    assert call.seconds < 6
    said = mount_status(node)[1]
    assert (said["server"], said["session"]) == ("10.77.0.201:7740", session)
    node.shell("nft delete table inet hole")
    node.cut()
    in_state(node, "broken")
    node.mend()
    said = in_state(node, "live")
    assert (said["server"], said["session"]) == ("10.77.0.201:7740", session)
    program.pwrite(fd, b"the same way")
    assert node.lab.the_server.events("session-ended") == []


def test_ipv6_address(lab):
    """[V6]:PORT, beside one of another kind."""
    lab.host.shell("ip -6 addr add fd77::1/64 dev br0 nodad")
    server = Server(lab.host, lab.programs, lab.export, lab.directory / "state0", "[fd77::1]", 7740, ())
    lab.servers.append(server)
    server.start()
    node = lab.node("one")
    node.shell("ip -6 addr add fd77::2/64 dev eth0 nodad")
    node.mount(server=address("10.77.0.1:1,[fd77::1]:7740"))
    node.python().write_file("data", b"text")
    assert mount_status(node)[1]["server"] == "[fd77::1]:7740"


# --- baton mount-status ----------------------------------------------------------------------------------------------------------


def test_mount_status(scene, guid):
    """What a live mount says, readable and as JSON, to anybody; a place that is no mount is said."""
    scene.one.python(instance=guid, uid=1000).create("data")
    scene.two.python(instance=guid, uid=1000).open("data", "rw")
    eventually(lambda: mount_status(scene.one)[1]["fences"] == 1, 10)
    code, said = mount_status(scene.one)
    assert code == 0
    assert (said["node"], said["mount_point"], said["state"]) == ("one", str(scene.lab.mount_point), "live")
    assert (said["server"], said["trouble"], said["refusal"]) == ("10.77.0.1:7740", None, None)
    assert said["lease_micros"] == 10_000_000 and said["session"] > 0 and said["since_micros"] > 0
    assert (said["waiting"], said["oldest"], said["pid"]) == (0, None, scene.one.runs[0].pid)
    assert said["fence_list"][0]["guid"] == guid and said["fence_list"][0]["epoch"] > 0
    assert said["options"] == {"background_mount": False, "op_timeout": 0.0, "claim_wait": 0.05, "attr_timeout": 1.0,
                               "entry_timeout": 0.0, "read_only": False, "unidentified": "refuse"}
    command = [scene.lab.programs / "baton", "mount-status"]
    readable = scene.one.run([*command, scene.lab.mount_point], uid=1000)
    assert readable.returncode == 0
    for word in ("node          one", "live", "10.77.0.1:7740", guid, "op_timeout=0"):
        assert word in readable.stdout
    for place, word in (("/tmp", "not the root directory of a batonfs mount"), ("/nonexistent", "No such file")):
        wrong = scene.one.run([*command, place])
        assert wrong.returncode == 1 and word in wrong.stderr
    assert scene.one.run(command).returncode == 2


@CUTS
def test_mount_status_of_a_broken_mount(scene, how):
    """It answers while everything there waits, also from inside the mount; and says who waits for what, since when, why."""
    program = scene.one.python()
    fd = program.create("data")
    scene.one.cut(how)
    call = program.start_call("os.pwrite", fd, b"text", 0).waits()
    said = in_state(scene.one, "broken")
    assert said["trouble"] and said["server"] == "10.77.0.1:7740"
    assert said["waiting"] == 1
    assert (said["oldest"]["operation"], said["oldest"]["pid"]) == ("Write", program.pid)
    assert said["oldest"]["program"].startswith("python3")
    for place in (".", "./", f"{scene.lab.mount_point}/", f"{scene.lab.mount_point}/."):
        inside = scene.one.popen(["sh", "-c", f"exec {scene.lab.programs}/baton mount-status {place}"],
                                 cwd="/", stdout=subprocess.PIPE, text=True) if place.startswith("/") else None
        if inside is not None:
            assert "Write by python3" in inside.communicate(timeout=5)[0]
            assert inside.returncode == 3
    scene.one.mend()
    call.result()
    assert in_state(scene.one, "live")["trouble"] is None


def test_mount_status_from_inside(scene):
    """A working directory in the mount is no way to its root that the kernel must ask about."""
    program = scene.one.python()
    scene.one.cut()
    in_state(scene.one, "broken")
    text = ("import subprocess\n"
            "done = subprocess.run(command, capture_output=True, text=True, timeout=5, cwd=None)\n"
            "result = done.returncode, done.stdout\n")
    command = [str(scene.lab.programs / "baton"), "mount-status", "."]
    code, said = program.start_call("run", text, command=command).result(10)
    assert code == 3 and "broken" in said


def test_mount_status_of_a_dead_mount(bench):
    """A mount that was killed is said, not waited for."""
    mount = bench.mount()
    mount.process.kill()
    mount.process.wait(10)
    wrong = bench.run([bench.lab.programs / "baton", "mount-status", bench.lab.mount_point], within=5)
    assert wrong.returncode == 1 and "died" in wrong.stderr
