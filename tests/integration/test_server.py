"""batond as a program: how it is told what to serve, what it refuses, how it ends (issue 2, part 1; A1, A2, A3)."""
import errno
import json
import os
import socket
import stat

import pytest
from lab import eventually, refused


@pytest.fixture
def batond(lab):
    """A function that runs batond on the server's host until it ends."""
    def run(*words, **options):
        return lab.host.run([lab.programs / "batond", *words], **options)
    return run


@pytest.mark.parametrize("words, status, said", [
    (["--state-dir", "{state}"], 2, "--export"),
    (["--export", "/nonexistent", "--state-dir", "{state}"], 2, "/nonexistent"),
    (["--export", "{export}", "--state-dir", "{export}/state"], 2, "inside the export"),
    (["--export", "{export}", "--state-dir", "{state}", "--nonsense"], 2, "--nonsense"),
    (["--export", "{export}", "--state-dir", "{state}", "--lease", "soon"], 2, "--lease"),
    (["--export", "{export}", "--state-dir", "{state}", "--claim", "maybe"], 2, "maybe"),
    (["--export", "{export}", "--state-dir", "{state}", "--listen", "nowhere"], 2, "nowhere"),
    (["--export", "{export}", "--state-dir", "{state}", "--listen", "127.0.0.99:1:2"], 2, "127.0.0.99:1:2"),
    (["--export", "/proc", "--state-dir", "{state}"], 1, "/proc"),
    (["--config", "/nonexistent.toml"], 2, "/nonexistent.toml"),
])
def test_clear_errors(lab, batond, words, status, said):
    """A3: what cannot work is said on stderr, with status 2 for what it was told and 1 for what failed; also an export
    whose files cannot be found again by handle."""
    result = batond(*(word.format(export=lab.export, state=lab.directory / "state") for word in words))
    assert (result.returncode, result.stdout) == (status, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize("address", ["10.77.0.1:7740", "0.0.0.0:7740", "[::]:7740", "host:7740"])
def test_loopback_only(lab, batond, address):
    """A2: any address but loopback is refused without --insecure."""
    result = batond("--export", lab.export, "--state-dir", lab.directory / "state", "--listen", address)
    assert result.returncode == 2
    assert "--insecure" in result.stderr and "loopback" in result.stderr


def test_two_servers(lab, batond):
    """One state directory has one server, and so has an address; the second one says which it is, and harms nothing."""
    server = lab.server()
    same_state = batond("--export", lab.export, "--state-dir", server.state, "--listen", "127.0.0.1:0")
    assert same_state.returncode == 1 and str(server.state) in same_state.stderr
    (lab.directory / "elsewhere").mkdir()
    same_address = batond("--export", lab.directory / "elsewhere", "--state-dir", lab.directory / "other", "--listen", server.address,
                          "--insecure")
    assert same_address.returncode == 1 and server.address in same_address.stderr
    assert server.baton("status").returncode == 0


def test_config_file(lab):
    """The keys of the TOML file are the options' names; what the command line says counts more."""
    config = lab.directory / "batond.toml"
    config.write_text('claim = "exclusive"\nlease = "30s"\nreservation = "7s"\nreclaim-scope = "file"\nread-only = true\n'
                      'squash-root = true\n')
    server = lab.server("--config", config, "--lease", "20s")
    status, = server.listing("status")
    assert (status["claim"], status["reclaim_scope"], status["read_only"], status["squash_root"]) == (
        "exclusive", "file", True, True)
    assert (status["lease_micros"], status["reservation_micros"]) == (20_000_000, 7_000_000)
    assert (status["export"], status["listen"]) == (str(lab.export), server.address)


@pytest.mark.parametrize("text, said", [
    ('export = "/srv"\nleese = "10s"\n', '2: "leese"'),
    ('lease = 10\n', '1: "lease"'),
    ('read-only = "yes"\n', '1: "read-only"'),
    ('lease = \n', "1"),
])
def test_wrong_config_file(lab, batond, text, said):
    """What is wrong in the TOML file is said with its line."""
    config = lab.directory / "batond.toml"
    config.write_text(text)
    result = batond("--config", config, "--export", lab.export, "--state-dir", lab.directory / "state")
    assert result.returncode == 2
    assert "batond.toml" in result.stderr and said in result.stderr


def test_defaults(lab):
    """Without options but the export it listens on 127.0.0.1:7740, with a lease and a reservation of 10 s; its state is
    in the home of whoever is not root, with nobody else's access."""
    home = lab.directory / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    with open(lab.directory / "batond.log", "wb") as log:
        process = lab.host.popen([lab.programs / "batond", "--export", lab.export], uid=1000, env={"HOME": str(home)},
                                 stdout=log, stderr=log)
    baton = [lab.programs / "baton", "status", "--json"]
    result = eventually(lambda: (r := lab.host.run(baton, uid=1000, env={"HOME": str(home)})).returncode == 0 and r, 20)
    status = json.loads(result.stdout)
    assert (status["listen"], status["claim"], status["reclaim_scope"]) == ("127.0.0.1:7740", "write", "instance")
    assert (status["lease_micros"], status["reservation_micros"]) == (10_000_000, 10_000_000)
    state = home / ".local" / "state" / "batond"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert "not root" in (lab.directory / "batond.log").read_text()
    process.terminate()
    assert process.wait(10) == 0


def test_state_is_private(lab):
    """A GUID is no credential, but the server's key is: nobody but the server's user can read its state or command it."""
    server = lab.server()
    assert stat.S_IMODE(server.state.stat().st_mode) & 0o077 == 0
    result = lab.host.run([lab.programs / "baton", "--state-dir", server.state, "status"], uid=1000)
    assert result.returncode == 3


def test_sigterm(scene):
    """It ends cleanly and at once on SIGTERM, also while a request waits for a lock, and leaves no socket behind."""
    holder, waiter = scene.one.python(), scene.two.python()
    holder.lock(holder.create("data"), "w")
    waiter.start_call("lock", waiter.open("data", "rw"), "w", wait=True).waits()
    assert scene.server.terminate(within=5) == 0
    assert not [path for path in scene.server.state.iterdir() if path.is_socket()]
    scene.server.start()


def test_log_for_the_journal(lab):
    """Under the journal each line begins with its priority, and has no time of its own."""
    with open(lab.directory / "journal.log", "wb") as log:
        process = lab.host.popen([lab.programs / "batond", "--export", lab.export, "--state-dir", lab.directory / "state"],
                                 env={"JOURNAL_STREAM": "1:1"}, stdout=log, stderr=log)
    said = lab.directory / "journal.log"
    eventually(lambda: "<6>batond" in said.read_text(), 20)
    process.terminate()
    assert process.wait(10) == 0
    assert all(line.startswith("<") for line in said.read_text().splitlines())


@pytest.mark.parametrize("scene", [("--read-only",)], indirect=True)
def test_read_only_export(scene, guid):
    """A1: --read-only refuses every change with EROFS, and lets everything be read."""
    scene.store("data", b"text")
    os.mkdir(scene.lab.export / "directory")
    program = scene.one.python(instance=guid)
    for attempt in (lambda: program.open("data", "rw"), lambda: program.open("data", "w", os.O_TRUNC),
                    lambda: program.create("fresh"), lambda: program.unlink("data"), lambda: program.mkdir("fresh"),
                    lambda: program.rmdir("directory"), lambda: program.rename("data", "moved"),
                    lambda: program.link("data", "linked"), lambda: program.symlink("data", "link"),
                    lambda: program.chmod("data", 0o600), lambda: program.chown("data", 1, 1), lambda: program.utime("data"),
                    lambda: program.truncate("data", 0), lambda: program.setxattr("data", "user.x", b"1")):
        with refused(errno.EROFS):
            attempt()
    assert program.read_file("data") == b"text"
    assert sorted(program.listdir(".")) == ["data", "directory"]
    assert sorted(os.listdir(scene.lab.export)) == ["data", "directory"]


@pytest.mark.parametrize("scene", [("--squash-root",)], indirect=True)
def test_squashed_root(scene, guid):
    """A1, T3: with --squash-root the nodes' root is nobody: it owns nothing, may nothing more, and takes nothing over."""
    scene.store("data", b"text")
    (scene.lab.export / "secret").write_bytes(b"secret")
    (scene.lab.export / "secret").chmod(0o600)
    root = scene.one.python()
    root.create("fresh")
    assert (scene.lab.export / "fresh").stat().st_uid == 65534
    with refused(errno.EACCES):
        root.open("secret", "r")
    with refused(errno.EPERM):
        root.chown("data", 1000, 1000)
    with refused(errno.EPERM):
        root.chmod("data", 0o600)
    owner = scene.one.python(instance=guid, uid=1000)
    fd = owner.open("data", "rw")
    with refused(errno.EACCES):
        scene.two.python(instance=guid).open("data", "rw")
    owner.pwrite(fd, b"mine")


def test_callers_own_rights(scene):
    """A1: everything is checked and done with the caller's uid, gid and supplementary groups."""
    team = scene.lab.export / "team"
    team.mkdir()
    os.chown(team, 0, 4711)
    team.chmod(0o2770)
    at = scene.at("team")
    caller = ["setpriv", "--reuid", "1000", "--regid", "1000"]
    outsider = scene.one.run([*caller, "--clear-groups", "touch", f"{at}/file"])
    assert outsider.returncode != 0 and "denied" in outsider.stderr
    scene.one.run([*caller, "--groups", "4711", "touch", f"{at}/file"], check=True)
    made = (team / "file").stat()
    assert (made.st_uid, made.st_gid) == (1000, 4711)
    program = scene.one.python(uid=1000, cwd="/")
    scene.store("other")
    with refused(errno.EPERM):
        program.chown(scene.at("other"), 1000, 1000)
    with refused(errno.EPERM):
        program.chmod(scene.at("other"), 0o777)
    mine = scene.store("mine")
    os.chown(scene.lab.export / mine, 1000, 1000)
    program.chmod(scene.at("mine"), 0o600)
    with refused(errno.EACCES):
        scene.two.python(uid=1001).open("mine", "r")


def test_served_without_root(lab):
    """A1: batond without root serves its own uid, with its own rights, and nobody else."""
    os.chown(lab.export, 1000, 1000)
    lab.export.chmod(0o755)
    state = lab.directory / "state-of-1000"
    state.mkdir()
    os.chown(state, 1000, 1000)
    log_path = lab.directory / "batond.log"
    with open(log_path, "wb") as log:
        lab.host.popen([lab.programs / "batond", "--export", lab.export, "--state-dir", state, "--insecure",
                        "--listen", "10.77.0.1:7799"], uid=1000, stdout=log, stderr=log)
    eventually(lambda: "serves" in log_path.read_text(), 20)
    assert "not root: only uid 1000 is served" in log_path.read_text()
    node = lab.node("one")
    node.mount(server=type("Address", (), {"address": "10.77.0.1:7799"}))
    own = node.python(uid=1000)
    own.write_file("data", b"text")
    own.rename("data", "moved")
    assert (lab.export / "moved").read_bytes() == b"text"
    assert own.read_file("moved") == b"text"
    for other in (node.python(uid=1001, cwd="/"), node.python(uid=0, cwd="/")):
        with refused(errno.EACCES, errno.EPERM):
            other.create(f"{lab.mount_point}/theirs")
    assert os.listdir(lab.export) == ["moved"]


def test_nothing_outside_the_export(scene):
    """A3: no name and no symlink leads out of the export on the server; a node's links mean the node's own files."""
    outside = scene.lab.directory / "outside"
    outside.write_bytes(b"the server's")
    (scene.lab.export / "link").symlink_to(outside)
    (scene.lab.export / "up").symlink_to("../outside")
    program = scene.one.python()
    outside.unlink()
    for name in ("link", "up"):
        with refused(errno.ENOENT):
            program.read_file(name)
    assert program.readlink("up") == "../outside"
    assert program.stat("..")["st_ino"] == os.stat(scene.lab.directory).st_ino   # the node's own directory


def test_control_socket_takes_any_bytes(lab):
    """A4: nonsense on the control socket is answered or closed, and harms nobody."""
    server = lab.server()
    path = next(path for path in server.state.iterdir() if path.is_socket())
    for text in (b"nonsense\n", b"{}\n", b'{"command": "no such"}\n', b'{"command": 7}\n', b"\0" * 100_000, b"[" * 5000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            stream.connect(str(path))
            try:
                stream.sendall(text)
                stream.shutdown(socket.SHUT_WR)
                answer = stream.recv(4096)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
        assert answer == b"" or b"error" in answer
    assert server.baton("status").returncode == 0
