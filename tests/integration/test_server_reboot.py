"""D3: the server's machine goes down. What was acknowledged and not synced is EIO, once, at the next fsync or close of each
handle. The machine's boot is a file here; the store's own disk forgets nothing, so only who is told is tested."""
import errno
import os

import pytest
from conftest import Scene
from lab import refused


class Machine(Scene):
    """The server's machine, which can be started anew."""

    def __init__(self, lab):
        self.boot = lab.directory / "server-boot-id"
        self.boot.write_text("first\n")
        super().__init__(lab, "--boot-id-file", self.boot)

    def reboot(self):
        self.server.kill()
        self.boot.write_text(f"after {self.boot.read_text()}")
        self.server.start()


@pytest.fixture
def machine(lab):
    return Machine(lab)


def written(program, name, how="rw"):
    fd = program.create(name, how)
    program.pwrite(fd, b"acknowledged")
    return fd


def test_the_next_fsync_says_so_once(machine):
    program = machine.one.python()
    fd = written(program, "data")
    machine.reboot()
    with refused(errno.EIO):
        program.call("os.fsync", fd)
    program.call("os.fsync", fd)
    program.call("os.close", fd)
    assert f"pids {program.pid} wrote to data (inode" in machine.one.runs[-1].log()


def test_or_the_close(machine):
    program = machine.one.python()
    fd = written(program, "data")
    machine.reboot()
    with refused(errno.EIO):
        program.call("os.close", fd)
    again = program.open("data", "rw")
    program.call("os.fsync", again)
    program.call("os.close", again)


def test_each_handle_that_wrote_and_no_other(machine):
    program = machine.one.python()
    elsewhere = machine.two.python()
    one = written(program, "data")
    two, reader = program.open("data", "rw"), program.open("data")
    other = elsewhere.open("data", "rw")
    program.pwrite(two, b"more", 100)
    elsewhere.pwrite(other, b"more", 200)
    machine.reboot()
    program.call("os.close", reader)
    for who, fd in ((program, one), (program, two), (elsewhere, other)):
        with refused(errno.EIO):
            who.call("os.fdatasync", fd)
        who.call("os.close", fd)


def test_what_was_synced_is_safe(machine):
    """Through whichever handle; and what was written synchronously."""
    program = machine.one.python()
    one = written(program, "data")
    two = program.open("data", "rw")
    program.call("os.fsync", two)
    direct = program.call("os.open", "sync", os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    program.pwrite(direct, b"synced")
    machine.reboot()
    for fd in (one, two, direct):
        program.call("os.fsync", fd)
        program.call("os.close", fd)


def test_only_the_program_was_started_again(machine):
    program = machine.one.python()
    fd = written(program, "data")
    machine.server.restart()
    program.call("os.fsync", fd)
    program.call("os.close", fd)


def test_who_waits_in_fsync_hears_of_it(machine):
    program = machine.one.python()
    fd = written(program, "data")
    machine.server.kill()
    call = program.start_call("os.fsync", fd).waits()
    machine.boot.write_text("second\n")
    machine.server.start()
    with refused(errno.EIO):
        call.result()
    program.call("os.fsync", fd)
    program.call("os.close", fd)


def test_second_reboot_takes_what_was_written_after_the_first(machine):
    program = machine.one.python()
    fd = written(program, "data")
    machine.reboot()
    with refused(errno.EIO):
        program.call("os.fsync", fd)
    program.pwrite(fd, b"anew")
    machine.reboot()
    with refused(errno.EIO):
        program.call("os.fsync", fd)
    program.call("os.close", fd)
