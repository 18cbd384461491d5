"""L1, L2: random scripts of lock calls give, step by step, the same answers between two mounts as on a local file.

The scripts and their driver are tests/oracle's. Owners take turns on the two mounts, which are two nodes to the server.
"""
import pytest
from lab import Lab


@pytest.fixture(scope="module")
def arena():
    """Two mounts side by side, a local directory, and functions that make and run a script there."""
    lab = Lab()
    try:
        lab.server()
        node = lab.node("one")
        node.lab.mount_options = ()
        mounts = [lab.directory / "left", lab.directory / "right"]
        for mount in mounts:
            node.mount(f"node={mount.name}", at=mount, node=mount.name)
        local = lab.directory / "local"
        local.mkdir()
        tool = lab.programs / "lock_script"

        def make(kind, seed):
            return node.run([tool, "--make", kind, seed], check=True).stdout

        def run(script, name, quiet, directories):
            for directory in (local, lab.export):
                (directory / name).mkdir(exist_ok=True)
            words = ["--quiet", quiet] if quiet else []
            return node.run([tool, *words, *(directory / name for directory in directories)], input=script, within=120,
                            check=True).stdout.splitlines()
        yield lambda kind, seed, quiet=None: (run(make(kind, seed), f"{kind}-{seed}", None, [local]),
                                              run(make(kind, seed), f"{kind}-{seed}", quiet, mounts))
    except BaseException:
        lab.close(check=False)
        raise
    lab.close()


@pytest.mark.parametrize("kind", ["ranges", "flock"])
@pytest.mark.parametrize("chunk", [0, *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in range(1, 5))])
def test_scripts_that_do_not_wait(arena, kind, chunk):
    """L1: 200 scripts of lock, test, unlock and close."""
    for seed in range(20 * chunk, 20 * chunk + 20):
        local, mounted = arena(kind, seed)
        assert mounted == local, f"{kind} {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["waits", "flock-waits", "deadlocks"])
def test_scripts_that_wait(arena, kind):
    """L2: who is served when, EDEADLK, and waits that a signal ends."""
    for seed in range(2):
        local, mounted = arena(kind, seed, quiet=60)
        steps = [(ours, theirs) for ours, theirs in zip(mounted, local, strict=True) if " test " not in ours]
        assert all(ours == theirs for ours, theirs in steps), f"{kind} {seed}"
