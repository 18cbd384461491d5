"""A random walk over names and attributes (tests/walk), on a local directory and on a mount at the same time: what each call gives
and leaves is the same. As root, who acts as root and as three users; and as an ordinary user whose batond and batonfs are his own."""
import os
import shutil

import pytest
from test_ordinary_user import USER, Own

# What it prints names the seed: `namespace_walk LOCAL MOUNT --seed N` with the same --operations walks the same way again.
SEED = 20260
OPERATIONS = 500
KINDS = 33
LONG = pytest.param(200, 3000, marks=[pytest.mark.slow, pytest.mark.programs])


def walk(node, program, local, mount, walks, within, **who):
    process = node.popen([program, local, mount, "--seed", SEED, "--walks", walks, "--operations", OPERATIONS],
                         stdout=-1, stderr=-2, text=True, **who)
    output = process.communicate(timeout=within)[0]
    assert process.returncode == 0, output
    counts = {kind: (int(good), int(bad)) for kind, good, bad in (line.split() for line in output.splitlines())}
    assert sum(good + bad for good, bad in counts.values()) == walks * OPERATIONS
    assert len(counts) == KINDS
    return counts


@pytest.mark.parametrize("walks, within", [(16, 240), LONG])
def test_as_root_and_users(lab, walks, within):
    lab.server()
    node = lab.node("one")
    node.mount("suid", "dev")
    local = lab.directory / "local"
    local.mkdir()
    for directory in (local, lab.export):
        directory.chmod(0o755)
    counts = walk(node, lab.programs / "namespace_walk", local, lab.mount_point, walks, within)
    assert all(good for kind, (good, _) in counts.items() if kind not in ("getxattr", "linkfd", "link")), counts


@pytest.mark.parametrize("walks, within", [(16, 240), LONG])
def test_as_an_ordinary_user(lab, walks, within):
    """A5: nothing here is root's."""
    own = Own(lab)
    local = lab.directory / "local"
    local.mkdir()
    os.chown(local, USER, USER)
    program = lab.directory / "namespace_walk"   # where an ordinary user reaches it
    shutil.copy(lab.programs / "namespace_walk", program)
    walk(own.one, program, local, lab.mount_point, walks, within, uid=USER)
