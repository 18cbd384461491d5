"""I: who is asking. Whether a process counts as X is seen by what it may do to a file that X holds."""
import errno
import os
import shutil
import uuid

import pytest
from lab import eventually, refused


def is_member(program, name="held"):
    """Whether it may write what the instance holds."""
    try:
        program.close(program.open(name, "rw"))
        return True
    except OSError as error:
        assert error.errno == errno.EBUSY
        return False


@pytest.fixture
def held(scene, guid):
    """A file on node one that the instance holds through a process of its own."""
    holder = scene.one.python(instance=guid)
    holder.create("held")
    return holder


def test_environment(scene, guid, other_guid, held):
    """I2(b), O2: a process has the id that its environment named at exec; its children have it too."""
    assert is_member(scene.one.python(instance=guid))
    assert not is_member(scene.one.python(instance=other_guid))
    assert not is_member(scene.one.python())
    assert is_member(held.fork())
    assert is_member(held.fork_twice())
    assert is_member(held.fork().fork())


def test_members_stay_members(scene, guid, other_guid, held):
    """T7: a member that drops its id is still a member; another GUID is another instance."""
    assert is_member(held.spawn())
    assert is_member(held.spawn().become())
    assert not is_member(held.spawn(instance=other_guid))


@pytest.mark.parametrize("form", ["{}", "{{{}}}"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_forms_of_a_guid(scene, guid, held, form, case):
    """I4: either case, with or without braces."""
    assert is_member(scene.one.python(instance=form.format(case(guid))))


@pytest.mark.parametrize("bad", ["", "nonsense", str(uuid.UUID(int=0)), "12345678-1234-1234-1234-12345678901",
                                 "12345678-1234-1234-1234-1234567890123", "{12345678-1234-1234-1234-123456789012",
                                 "12345678123412341234123456789012", " 12345678-1234-1234-1234-123456789012"])
def test_malformed_guid(scene, bad):
    """I4: a GUID that does not parse, or the nil GUID, is EINVAL and a log line, never ignored."""
    scene.store("data")
    program = scene.one.python(instance=bad)
    for attempt in (lambda: program.open("data", "rw"), lambda: program.create("fresh"), lambda: program.unlink("data"),
                    lambda: program.mkdir("directory"), lambda: program.rename("data", "other")):
        with refused(errno.EINVAL):
            attempt()
    assert program.stat("data")["st_size"] == 0
    lines = [line for line in scene.one.runs[0].log().splitlines() if str(program.pid) in line]
    assert len(lines) == 1
    assert os.listdir(scene.lab.export) == ["data"]


@pytest.mark.parametrize("bad", ["", "x", "1.", ".1", "1.2.3", "-1", "1.18446744073709551616", "1 "])
def test_malformed_version(scene, guid, bad):
    """I4, I3: a version that does not parse is EINVAL too."""
    program = scene.one.python(instance=guid, version=bad)
    with refused(errno.EINVAL):
        program.create("data")


def test_destroyed_environment(scene, guid, held):
    """I2(b): an id once seen stays, though the program overwrites the memory it stood in; its children have it too."""
    program = scene.one.python(instance=guid)
    program.stat("held")
    program.destroy_environment()
    assert is_member(program)
    assert is_member(program.fork())


def test_destroyed_environment_after_entering(scene, guid, held):
    """I2(b): entering the mount is enough to be seen, also where others did just before; redis does no more than that."""
    program = scene.one.python(instance=guid, cwd="/")
    looker = scene.one.python()
    looker.stat(scene.lab.mount_point)
    program.chdir(str(scene.lab.mount_point))
    program.destroy_environment()
    assert is_member(program)


def test_destroyed_environment_of_a_child(scene, guid, held):
    """I2(b): where the area is overwritten the id is unknown, and the nearest living ancestor's counts."""
    parent = scene.one.python(instance=guid)
    child = parent.fork()
    child.destroy_environment()
    assert is_member(child)


def test_unknown_id_may_not_write(scene, guid):
    """I2(b): if no ancestor's id can be read either, opens for writing fail with EACCES; reading is allowed."""
    scene.store("data", b"text")
    program = scene.one.python(instance=guid, cwd="/")
    program.destroy_environment()
    with refused(errno.EACCES):
        program.open(scene.at("data"), "rw")
    with refused(errno.EACCES):
        program.create(scene.at("fresh"))
    assert program.read_file(scene.at("data")) == b"text"


def test_registration_by_xattr(scene, guid, held):
    """I2(a): a process registers itself at the mount's root; it and its later descendants carry the id."""
    program = scene.one.python()
    early = program.fork()
    program.setxattr(".", "user.baton.register", guid.encode())
    assert is_member(program)
    assert is_member(program.fork())
    assert not is_member(early)
    program.removexattr(".", "user.baton.register")
    assert not is_member(program)


def test_registration_by_command(scene, guid, held):
    """I2(a): `baton register GUID --pid PID MOUNTPOINT` does so for another process."""
    program = scene.one.python()
    assert not is_member(program)
    baton = [scene.lab.programs / "baton"]
    scene.one.run([*baton, "register", guid, "--pid", program.pid, scene.lab.mount_point], check=True)
    assert is_member(program)
    scene.one.run([*baton, "unregister", "--pid", program.pid, scene.lab.mount_point], check=True)
    assert not is_member(program)


def test_registration_comes_first(scene, guid, other_guid, held):
    """I2: first match wins: a registration counts before the environment."""
    program = scene.one.python(instance=other_guid)
    program.setxattr(".", "user.baton.register", guid.encode())
    assert is_member(program)


def test_registration_is_checked(scene, guid):
    """I2(a), I4: what does not parse is EINVAL, a foreign process EPERM, one that does not exist ESRCH."""
    program = scene.one.python(uid=1000)
    scene.lab.export.chmod(0o777)
    foreign = scene.one.python()
    for value, number in (("nonsense", errno.EINVAL), (str(uuid.UUID(int=0)), errno.EINVAL), (f"{guid} x.y", errno.EINVAL),
                          (f"{guid} 1 {foreign.pid}", errno.EPERM), (f"{guid} 1 999999999", errno.ESRCH)):
        with refused(number):
            program.setxattr(".", "user.baton.register", value.encode())


def test_program_file(scene, guid, other_guid, held):
    """I2(c): the xattr of the program file names the instance of whoever runs it; the environment counts before it."""
    interpreter = scene.lab.directory / "python-of-x"
    shutil.copy("/usr/bin/python3", interpreter)
    os.setxattr(interpreter, "user.app_instance_id", guid.encode())
    assert is_member(scene.one.python(interpreter=interpreter))
    assert not is_member(scene.one.python(interpreter=interpreter, instance=other_guid))


def test_program_file_on_the_mount(scene, guid, held):
    """I2(c), I6: also where the program lies on the mount itself."""
    shutil.copy("/usr/bin/python3", scene.lab.export / "python-of-x")
    os.setxattr(scene.lab.export / "python-of-x", "user.app_instance_id", guid.encode())
    assert is_member(scene.one.python(interpreter=scene.at("python-of-x")))


def test_directory(scene, guid, other_guid):
    """I2(d): opens that can write carry the id of the file's nearest parent directory; readers stay anonymous."""
    os.makedirs(scene.lab.export / "of-x" / "below")
    os.setxattr(scene.lab.export / "of-x", "user.app_instance_id", guid.encode())
    writer = scene.one.python()
    fd = writer.create("of-x/below/data")
    assert [(node, of, int(pid)) for node, of, pid, _ in writer.holders("of-x/below/data")] == [("one", guid, writer.pid)]
    assert is_member(scene.one.python(instance=guid), "of-x/below/data")
    assert not is_member(scene.one.python(instance=other_guid), "of-x/below/data")
    reader = scene.two.python()
    assert reader.read_file("of-x/below/data") == b""
    with refused(errno.EBUSY):
        reader.open("of-x/below/data", "rw")   # the holder's session is not silent
    writer.pwrite(fd, b"unharmed")


@pytest.mark.parametrize("scene", [("--lease", "500ms")], indirect=True)
def test_directory_takes_over_the_silent(scene, guid):
    """I2(d): an id that comes from a directory takes over once the holder's session is silent."""
    (scene.lab.export / "of-x").mkdir()
    os.setxattr(scene.lab.export / "of-x", "user.app_instance_id", guid.encode())
    old = scene.one.python()
    fd = old.create("of-x/data")
    scene.one.cut()
    new = scene.two.python()

    def granted():
        try:
            return new.open("of-x/data", "rw")
        except OSError as error:
            assert error.errno == errno.EBUSY
            return None
    new.pwrite(eventually(granted, 10), b"two")
    scene.one.mend()
    with refused(errno.ESTALE):
        old.pwrite(fd, b"one")
    assert scene.stored("of-x/data") == b"two"


def test_directory_that_says_any(scene, guid):
    """I2(d): with user.baton.takeover=any it takes over from a live holder as well."""
    (scene.lab.export / "of-x").mkdir()
    os.setxattr(scene.lab.export / "of-x", "user.app_instance_id", guid.encode())
    os.setxattr(scene.lab.export / "of-x", "user.baton.takeover", b"any")
    old = scene.one.python()
    fd = old.create("of-x/data")
    scene.two.python().open("of-x/data", "rw")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


def test_two_opens_of_one_process(scene, guid, other_guid):
    """I2: two opens of one process can have two ids, each by its directory."""
    program = scene.one.python()
    for name, of in (("a", guid), ("b", other_guid)):
        (scene.lab.export / name).mkdir()
        os.setxattr(scene.lab.export / name, "user.app_instance_id", of.encode())
        program.create(f"{name}/data")
    assert [program.holders(f"{name}/data")[0][1] for name in "ab"] == [guid, other_guid]


def test_policy_xattrs_are_the_owners(scene, guid):
    """I2(d), I4: only the directory's owner or root may set its id, and only one that parses."""
    directory = scene.lab.export / "of-x"
    directory.mkdir()
    os.chown(directory, 1000, 1000)
    directory.chmod(0o777)
    with refused(errno.EPERM):
        scene.one.python(uid=1001).setxattr("of-x", "user.app_instance_id", guid.encode())
    owner = scene.one.python(uid=1000)
    with refused(errno.EINVAL):
        owner.setxattr("of-x", "user.app_instance_id", b"nonsense")
    owner.setxattr("of-x", "user.app_instance_id", guid.encode())
    assert owner.getxattr("of-x", "user.app_instance_id").decode() == guid


def test_handle_keeps_its_identity(scene, guid, other_guid):
    """I7: a handle belongs to the identity that opened it, whoever uses it later."""
    program = scene.one.python(instance=guid)
    fd = program.create("data")
    program.set_inheritable(fd, True)
    heir = program.spawn(instance=other_guid)
    heir.pwrite(fd, b"heir")
    program.close(fd)
    with refused(errno.EBUSY):
        scene.two.python().open("data", "rw")
    scene.two.python(instance=guid).open("data", "rw")
    with refused(errno.ESTALE):
        heir.pwrite(fd, b"late")


def test_redirection_of_the_shell(scene, guid):
    """I7: the log file that a shell opened for its child does not conflict with the child's own open of it."""
    shell = scene.one.python()
    shell.redirect(2, "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = shell.spawn(instance=guid)
    child.open("log", "rw")
    child.write(2, b"a line\n")
    assert scene.stored("log") == b"a line\n"


def test_names_of_the_variables(lab, guid, other_guid):
    """I4: the variables' names are mount options."""
    lab.server()
    node = lab.node("one")
    node.mount("id_variable=MY_ID", "claim_wait=0.05")
    held = node.python(env={"MY_ID": guid})
    held.create("held")
    assert is_member(node.python(env={"MY_ID": guid}, instance=other_guid))
    assert not is_member(node.python(instance=guid))


def test_baton_run(scene, guid, held):
    """I2(b), I7: `baton run` starts a program with its identity set, and opens its log file as the instance."""
    baton = scene.lab.programs / "baton"
    result = scene.one.run([baton, "run", "--instance", guid, "--stdout", scene.at("log"), "--",
                            "sh", "-c", f"echo $APP_INSTANCE_ID; echo more >>{scene.at('held')}"])
    assert result.returncode == 0, result.stderr
    assert scene.stored("log").decode() == f"{guid}\n"
    assert scene.stored("held") == b"more\n"
    bad = scene.one.run([baton, "run", "--instance", "nonsense", "--", "true"])
    assert bad.returncode == 2 and "nonsense" in bad.stderr
