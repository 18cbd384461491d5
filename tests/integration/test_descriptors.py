"""A batond that may have few descriptors serves programs that have many files open (docs/decisions/0008)."""
import errno
import os

import pytest
from lab import refused

LIMIT = 128
FILES = 400


@pytest.fixture
def server(lab):
    limited = lab.server("--reservation", "1s", start=False)
    limited.argv = ["prlimit", f"--nofile={LIMIT}", *limited.argv]
    limited.start()
    return limited


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def content(number):
    return b"file %d " % number


def test_a_program_has_more_files_open_than_batond_descriptors(lab, server):
    """All of them can be read, written and synced, also those whose names went while their descriptors were closed."""
    node = lab.node("one")
    node.mount()
    program = node.python()
    opened = [program.create(f"f{number}") for number in range(FILES)]
    for number, fd in enumerate(opened):
        program.write(fd, content(number))
    removed, replaced = range(0, FILES, 20), range(1, FILES, 20)
    for number in removed:
        program.unlink(f"f{number}")
    for number in replaced:
        program.write_file("new", b"another file")
        program.rename("new", f"f{number}")
    for _ in range(2):
        for number, fd in enumerate(opened):
            size = program.fstat(fd)["st_size"]
            program.pwrite(fd, b"more", size)
        assert descriptors(server) <= LIMIT
    for number, fd in enumerate(opened):
        program.fsync(fd)
        assert program.pread(fd, 100) == content(number) + b"moremore"
        program.close(fd)
    gone = {*removed, *replaced}
    for number in range(FILES):
        if number not in gone:
            assert (lab.export / f"f{number}").read_bytes() == content(number) + b"moremore"
    for number in replaced:
        assert (lab.export / f"f{number}").read_bytes() == b"another file"
    assert "Too many open files" not in server.log()


def test_a_takeover_of_more_files_than_descriptors(lab, server, guid):
    """The old incarnation's files are fenced, whether batond has a descriptor of each just now or not."""
    one, two = lab.node("one"), lab.node("two")
    one.mount()
    two.mount()
    old = one.python(instance=guid)
    opened = [old.create(f"f{number}") for number in range(FILES)]
    for number, fd in enumerate(opened):
        old.write(fd, content(number))
        old.fsync(fd)
    new = two.python(instance=guid)
    fds = [new.open(f"f{number}", "rw") for number in range(FILES)]
    for fd in opened:
        with refused(errno.ESTALE):
            old.write(fd, b"late")
    for number, fd in enumerate(fds):
        assert new.pread(fd, 100) == content(number)
        new.pwrite(fd, b"FILE")
    assert descriptors(server) <= LIMIT
    for number in range(FILES):
        assert (lab.export / f"f{number}").read_bytes() == b"FILE" + content(number)[4:]


def test_a_takeover_opens_nothing_again(lab, server, guid):
    """What the old incarnation had open is given up without a look at it: here it could not be had again."""
    one, two = lab.node("one"), lab.node("two")
    one.mount()
    two.mount()
    old = one.python(instance=guid)
    for number in range(FILES):
        old.close(old.create(f"f{number}"))
    opened = [old.open(f"f{number}", "rw") for number in range(FILES)]
    for number in range(FILES - 1):
        (lab.export / f"f{number}").unlink()
    new = two.python(instance=guid)
    new.open(f"f{FILES - 1}", "rw")
    takeover, = server.events("takeover")
    assert takeover["handles"] == FILES
    with refused(errno.ESTALE):
        old.write(opened[0], b"late")
    assert "does not open again" not in server.log()
