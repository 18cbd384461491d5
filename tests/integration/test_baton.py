"""baton, the operator's command, against a real server (issue 2, part 8; T13)."""
import errno
import json
import os
import re
import signal
import subprocess
import uuid

import pytest
from lab import eventually, refused

EVENT = {"time", "kind", "guid", "old_epoch", "new_epoch", "from_node", "to_node", "uid", "pid", "program", "file", "handles",
         "locks", "micros", "detail"}


@pytest.fixture
def held(scene, guid):
    """On node one the instance holds "dir/data" with a write lock on its first ten bytes; node two's stranger waits for
    them and reads."""
    (scene.lab.export / "dir").mkdir()
    (scene.lab.export / "dir").chmod(0o777)
    holder = scene.one.python(instance=guid, version="3.1")
    fd = holder.create("dir/data")
    holder.lock(fd, "w", 0, 10)
    stranger = scene.two.python()
    stranger.start_call("lock", stranger.open("dir/data", "r"), "r", 5, 10, wait=True).waits()
    return holder, stranger


@pytest.mark.parametrize("command, said", [
    (["status"], "claim write"), (["sessions"], "one"), (["instances"], "3.1"), (["opens"], "dir/data"),
    (["opens", "dir/data"], "dir/data"), (["locks"], "0-9"), (["locks", "dir/data"], "waiting"), (["events"], "started"),
])
def test_readable(scene, guid, held, command, said):
    """Every command answers a person in a table, and nothing on stderr."""
    result = scene.server.baton(*command)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout
    assert "{" not in result.stdout


def test_as_json(scene, guid, held):
    """With --json: one object a line, before or behind the command's name."""
    holder, stranger = held
    status, = scene.server.listing("status")
    assert (status["sessions"], status["instances"], status["handles"], status["waiting"]) == (2, 1, 2, 1)
    assert {session["node"]: session["state"] for session in scene.server.listing("sessions")} == {"one": "active", "two": "active"}
    instance, = scene.server.listing("instances")
    assert (instance["guid"], instance["node"], instance["version"], instance["handles"]) == (guid, "one", "3.1", 1)
    assert scene.server.listing("opens", "dir/data") == scene.server.listing("opens")
    opens = {(row["path"], row["node"], row["guid"], row["pid"], row["mode"]) for row in scene.server.listing("opens")}
    assert opens == {("/dir/data", "one", guid, holder.pid, "claim"), ("/dir/data", "two", None, stranger.pid, "read")}
    locks = {(row["state"], row["kind"], row["type"], row["start"], row["last"], row["node"], row["pid"])
             for row in scene.server.listing("locks")}
    assert locks == {("held", "record", "write", 0, 9, "one", holder.pid), ("waiting", "record", "read", 5, 14, "two", stranger.pid)}
    before = scene.server.baton("--json", "instances")
    assert json.loads(before.stdout) == instance


def test_one_file_only(scene, held):
    """opens and locks of a PATH: that file's alone; by its path in the export or on the server; a wrong one is an error."""
    other = scene.one.python()
    other.lock(other.create("other"), "w")
    for path in ("other", "/other", scene.lab.export / "other"):
        assert [row["path"] for row in scene.server.listing("opens", path)] == ["/other"]
        assert [row["path"] for row in scene.server.listing("locks", path)] == ["/other"]
    wrong = scene.server.baton("opens", "absent")
    assert wrong.returncode == 1 and "absent" in wrong.stderr


def test_event_of_a_takeover(scene, guid):
    """T13: exactly the keys that are promised, and what they say; refusals and late requests are events too."""
    old = scene.one.python(instance=guid, uid=1000)
    fd = old.create("data", flags=os.O_EXCL)
    old.create("more")
    old.lock(fd, "w")
    new = scene.two.python(instance=guid, uid=1000)
    new.open("data", "rw")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    event, = scene.server.events("takeover")
    assert set(event) == EVENT
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["time"])
    assert (event["guid"], event["from_node"], event["to_node"]) == (guid, "one", "two")
    assert (event["uid"], event["pid"], event["file"], event["handles"], event["locks"]) == (1000, new.pid, "/data", 2, 1)
    assert event["program"].startswith("python3")
    assert 0 < event["micros"] < 5_000_000
    assert event["new_epoch"] > event["old_epoch"] > 0
    stranger = scene.one.python()
    with refused(errno.EBUSY):
        stranger.open("data", "rw")
    event = scene.server.events("refused", pid=stranger.pid)[-1]
    assert set(event) == EVENT
    assert (event["guid"], event["from_node"], event["to_node"], event["file"]) == (None, "two", "one", "/data")


def test_event_of_a_late_request(scene, guid):
    """T13: what a fenced incarnation sends on a handle after its fence is an event: whose, from which node, which file."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.one.cut()
    call = old.start_call("os.pwrite", fd, b"late", 0).waits()
    scene.two.python(instance=guid).open("data", "rw")
    scene.one.mend()
    with refused(errno.ESTALE):
        call.result()
    event = eventually(lambda: scene.server.events("late", guid=guid), 5)[0]
    assert set(event) == EVENT
    assert (event["from_node"], event["file"], event["pid"]) == ("one", "/data", old.pid)
    assert scene.server.listing("status")[0]["late"] >= 1


def test_event_of_what_the_mount_refuses(scene, guid):
    """T6, T13: a mount that knows of the fence asks nobody, and still it is an event, once a handle."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.two.python(instance=guid).open("data", "rw")
    eventually(lambda: "lost this node" in scene.one.runs[-1].log(), 10, "the mount knows")
    for _ in range(3):
        with refused(errno.ESTALE):
            old.pwrite(fd, b"late")
    event = eventually(lambda: scene.server.events("late", guid=guid), 5)[0]
    assert (event["from_node"], event["file"], event["pid"]) == ("one", "/data", old.pid)
    with refused(errno.ESTALE):
        old.close(fd)
    assert len(scene.server.events("late", guid=guid)) == 1


def test_event_of_a_change_by_name(scene, guid):
    """T13, T2: what was to be changed by name is named; what would fail anyway fences nobody and is no event."""
    old = scene.one.python(instance=guid)
    old.mkdir("dir")
    assert scene.server.events("started")[0]["file"] == "/dir"
    fd = old.create("dir/data")
    new = scene.two.python(instance=guid)
    with refused(errno.ENOTEMPTY):
        new.rmdir("dir")
    assert old.pwrite(fd, b"still here") == 10
    stranger = scene.two.python()
    with refused(errno.EBUSY):
        stranger.truncate("dir/data", 0)
    assert scene.server.events("refused", pid=stranger.pid)[-1]["file"] == "/dir/data"
    new.rename("dir/data", "dir/moved")
    event, = scene.server.events("takeover")
    assert (event["file"], event["pid"]) == ("/dir/data", new.pid)


def test_following_events(scene, guid):
    """events --follow goes on with those to come, line by line; an end of the server ends it."""
    log = scene.lab.directory / "followed"
    with open(log, "wb") as out:
        process = scene.lab.host.popen([scene.lab.programs / "baton", "--state-dir", scene.server.state, "events", "--follow",
                                        "--json"], stdout=out, stderr=subprocess.STDOUT)
    eventually(lambda: "session-began" in log.read_text(), 10)
    scene.one.python(instance=guid).create("data")
    scene.two.python(instance=guid).open("data", "r")
    eventually(lambda: '"takeover"' in log.read_text(), 10, "the takeover is shown at once")
    assert [json.loads(line)["kind"] for line in log.read_text().splitlines()][-1] == "takeover"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) != 0


def test_past_events_since(scene, guid):
    """events --since leaves out what was before; what is no time is refused."""
    scene.one.python(instance=guid).create("data")
    assert scene.server.events("started")
    assert scene.server.listing("events", "--since", "0s") == []
    assert scene.server.listing("events", "--since", "1h") == scene.server.listing("events")
    assert scene.server.baton("events", "--since", "yesterday").returncode == 2


def test_fence_of_a_node_that_is_cut_off(scene, guid):
    """T6: `baton fence` returns when the incarnation is fenced, and waits for nobody: not for a node that is cut off. What
    it held stays reserved for its next incarnation (T9)."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.one.cut()
    result = scene.server.baton("fence", guid, within=3)
    assert (result.returncode, result.stdout) == (0, f"{guid} is fenced\n")
    assert scene.server.listing("instances")[0]["handles"] == 0
    event, = scene.server.events("fenced", guid=guid)
    assert (event["from_node"], event["handles"]) == ("one", 1)
    with refused(errno.EBUSY):
        scene.two.python().open("data", "rw")
    scene.two.python(instance=guid).open("data", "rw")
    scene.one.mend()
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


def test_forget(scene, guid):
    """T12: forget drops the record of an instance that is not in use, and of no other."""
    program = scene.one.python(instance=guid, version="5")
    fd = program.create("data")
    busy = scene.server.baton("forget", guid)
    assert busy.returncode == 1 and "in use" in busy.stderr
    program.close(fd)
    program.kill()
    program.exited()
    eventually(lambda: scene.server.baton("forget", guid).returncode == 0, 20, "it is out of use")
    assert scene.server.listing("instances") == []
    scene.two.python(instance=guid, version="1").open("data", "rw")


@pytest.mark.parametrize("command", [["fence"], ["forget"], ["instance", "reset"]])
def test_unknown_instances(scene, guid, command):
    """An instance that nobody knows is an error of its own, and so is what is no GUID."""
    unknown = scene.server.baton(*command, guid)
    assert unknown.returncode == 1 and guid in unknown.stderr
    nonsense = scene.server.baton(*command, "nonsense")
    assert nonsense.returncode == 2 and "nonsense" in nonsense.stderr
    nil = scene.server.baton(*command, str(uuid.UUID(int=0)))
    assert nil.returncode == 2


def test_exit_codes(scene):
    """2 for a wrong command line, 3 if batond cannot be reached; stderr says what to do, stdout nothing."""
    for words, status, said in ((["nonsense"], 2, "nonsense"), ([], 2, "--help"), (["status", "--nonsense"], 2, "--nonsense"),
                                (["--state-dir", "/nonexistent", "status"], 3, "/nonexistent")):
        result = scene.lab.host.run([scene.lab.programs / "baton", *words])
        assert (result.returncode, result.stdout) == (status, "")
        assert said in result.stderr
    scene.server.kill()
    result = scene.server.baton("status")
    assert result.returncode == 3 and str(scene.server.state) in result.stderr


@pytest.mark.parametrize("words, status", [
    (["true"], 0), (["sh", "-c", "exit 7"], 7), (["/nonexistent"], 127), (["no-such-program"], 127), (["/etc/passwd"], 126),
    (["/"], 126), (["env", "--", "true"], 0),
])
def test_run_becomes_the_program(scene, guid, words, status):
    """`baton run` is the program: its exit code; 126 and 127 as env(1) has them."""
    result = scene.one.run([scene.lab.programs / "baton", "run", "--instance", guid, "--", *words])
    assert result.returncode == status, result.stderr
    assert bool(result.stderr) == (status in (126, 127))


def test_run_sets_what_it_is_told(scene, guid):
    """I2(b), I3: GUID, version and takeover in the environment; the pid stays, so that a supervisor sees its child."""
    process = scene.one.popen([scene.lab.programs / "baton", "run", "--instance", "{" + guid.upper() + "}", "--version", "4.2",
                               "--takeover", "no", "--", "sh", "-c", "echo $$; env"], version="9", stdout=subprocess.PIPE)
    lines = process.communicate(timeout=20)[0].decode().splitlines()
    assert lines[0] == str(process.pid)
    assert {"APP_INSTANCE_VERSION=4.2", "APP_INSTANCE_TAKEOVER=no"} <= set(lines)
    assert any(line.startswith("APP_INSTANCE_ID=") and guid in line.lower() for line in lines)
    plain = scene.one.run([scene.lab.programs / "baton", "run", "--instance", guid, "--", "env"], version="9")
    assert "APP_INSTANCE_VERSION" not in plain.stdout
    wrong = scene.one.run([scene.lab.programs / "baton", "run", "--instance", guid, "--version", "1.x", "--", "true"])
    assert wrong.returncode == 2 and "1.x" in wrong.stderr


def test_run_opens_its_logs_as_the_instance(scene, guid, other_guid):
    """I7: the log files belong to the program's instance: claimed, shared by stdout and stderr, and moved with it."""
    baton = [scene.lab.programs / "baton", "run", "--instance", guid, "--append", "--stdout", scene.at("log"), "--stderr",
             scene.at("log")]
    scene.store("log", b"before\n")
    text = "import os,sys,time\nos.write(1,b'out\\n')\nos.write(2,b'err\\n')\ntime.sleep(1000)"
    scene.one.popen([*baton, "--", "/usr/bin/python3", "-c", text])
    eventually(lambda: scene.stored("log") == b"before\nout\nerr\n", 10)
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("log", "rw")
    assert scene.two.run([*baton, "--", "echo", "moved"]).returncode == 0
    assert scene.stored("log") == b"before\nout\nerr\nmoved\n"
    assert len(scene.server.events("takeover", guid=guid)) == 1
    failed = scene.one.run([scene.lab.programs / "baton", "run", "--instance", other_guid, "--stdout", scene.at("no/log"), "--",
                            "true"])
    assert failed.returncode == 1 and "no/log" in failed.stderr


def test_register(scene, guid, other_guid):
    """I2(a), I3: a version with it; errors are clear: no process, no mount, another user's process, not registered."""
    program = scene.one.python()
    baton = [scene.lab.programs / "baton"]
    register = [*baton, "register", guid, "--version", "2", "--pid", program.pid, scene.lab.mount_point]
    scene.one.run(register, check=True)
    program.create("data")
    assert scene.server.listing("instances")[0]["version"] == "2.0"
    for words, said, who in (
            (["register", guid, "--pid", 999999999, scene.lab.mount_point], "999999999", None),
            (["register", guid, "--pid", program.pid, "/"], "not the root directory of a batonfs mount", None),
            (["register", guid, "--pid", program.pid, "/nonexistent"], "/nonexistent", None),
            (["register", other_guid, "--pid", program.pid, scene.lab.mount_point], "not yours", 1000),
            (["unregister", "--pid", 1, scene.lab.mount_point], "not registered", None)):
        result = scene.one.run([*baton, *words], uid=who)
        assert result.returncode == 1 and said in result.stderr
    assert scene.one.run([*baton, "register", "nonsense", scene.lab.mount_point]).returncode == 2
    shell = scene.one.run(["sh", "-ec", f"{baton[0]} register {other_guid} {scene.lab.mount_point}; : >{scene.at('mine')}; "
                           f"exec 3>>{scene.at('mine')}; getfattr --only-values -n user.baton.holders {scene.at('mine')}"])
    assert other_guid in shell.stdout, shell.stderr


def test_holders_are_told_to_readers(scene, guid):
    """user.baton.holders tells any reader of the file who holds it, a line each: NODE GUID PID MODE; and nobody else."""
    scene.store("data", b"text")
    holder, other = scene.one.python(instance=guid), scene.two.python()
    holder.open("data", "rw")
    other.open("data", "r")
    (scene.lab.export / "data").chmod(0o640)
    os.chown(scene.lab.export / "data", 0, 1000)
    text = scene.two.run(["getfattr", "--only-values", "-n", "user.baton.holders", scene.at("data")], uid=1000).stdout
    assert sorted(line.split() for line in text.splitlines()) == sorted(
        [["one", guid, str(holder.pid), "claim"], ["two", "-", str(other.pid), "read"]])
    refused_one = scene.two.run(["getfattr", "--only-values", "-n", "user.baton.holders", scene.at("data")], uid=1001)
    assert refused_one.returncode != 0 and guid not in refused_one.stdout
    assert "user.baton" not in scene.two.run(["getfattr", "-d", "-m", "-", scene.at("data")]).stdout
