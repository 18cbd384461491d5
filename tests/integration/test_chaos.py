"""S, D, T, L: programs on three nodes while batond is killed, links are cut, mounts killed, nodes frozen and programs moved (tests/chaos)."""
import pathlib
import subprocess
import sys

import pytest

RUNNER = pathlib.Path(__file__).resolve().parents[1] / "chaos" / "runner.py"


def chaos(*words, within):
    """The same seed every time, so that a failure can be looked at again."""
    result = subprocess.run([sys.executable, "-B", RUNNER, "--seed", "ci", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            timeout=within)
    assert result.returncode == 0, result.stdout[-20000:]
    return result.stdout


@pytest.mark.unsanitized   # what a program may see depends on the lease
@pytest.mark.parametrize("words", [("1", "--kill-only"), ("1", "--no-kill"), ("1.5",), pytest.param(("5",), marks=pytest.mark.slow)], ids=" ".join)
def test_chaos(words):
    """Programs on nodes that nothing happened to see pauses only; no acknowledged effect is lost, none is late."""
    assert "0 violations" in chaos(*words, within=600)
