"""The parity suite (tests/parity) on a local directory and on a mount: the same program, the same exact results.

tests/parity/differences.txt lists what may differ and why, in both directions: a case that differs and is not listed is an
error, and so is a listed one that does not differ.
"""
import fnmatch
import json
import os
import pathlib
import shutil

import pytest
from lab import Lab
from test_ordinary_user import USER as OWNER
from test_ordinary_user import Own

SUITE = pathlib.Path(__file__).resolve().parents[1] / "parity"
THEMES = sorted(path.stem for path in SUITE.glob("*_test.cpp"))
USER = 12000   # an ordinary user, for the second run
# Who runs the suite: root, an ordinary user on root's mount, and one whose batond and batonfs are his own.
RUNNERS = {"root": None, "user": USER, "own": OWNER}


def differences(who):
    """(pattern of case names, reason) of those that concern `who`, which is one of RUNNERS; a line may say "all"."""
    for line in (SUITE / "differences.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            concerned, pattern, reason = line.split(None, 2)
            if concerned in ("all", who):
                yield pattern, reason


class Arena:
    """A mount, a local directory beside it, and runs of the suite in both."""

    def __init__(self, own):
        self.lab = Lab()
        try:
            self.node = Own(self.lab).one if own else self.mount()
            self.prepare(["own"] if own else ["root", "user"])
        except BaseException:
            self.lab.close(check=False)
            raise

    def mount(self):
        self.lab.server()
        node = self.lab.node("one")
        node.mount("suid", "dev")
        return node

    def prepare(self, runners):
        self.local = self.lab.directory / "local"
        self.mounted = pathlib.Path(self.lab.mount_point)
        for directory in (self.local / who for who in runners):
            directory.mkdir(parents=True)
        for directory in (self.lab.export / who for who in runners):
            directory.mkdir()
        for directory in (base / who for base in (self.local, self.lab.export) for who in runners if RUNNERS[who]):
            os.chown(directory, RUNNERS[directory.name], RUNNERS[directory.name])
        self.reports = self.lab.directory / "reports"
        self.reports.mkdir()
        self.reports.chmod(0o1777)
        self.program = self.lab.directory / "parity"   # where an ordinary user reaches it
        shutil.copy(self.lab.programs / "parity", self.program)
        self.cases = self.listed()

    def listed(self):
        """The cases' names by theme, which is the file that they stand in."""
        report = self.reports / "list.json"
        self.node.run([self.program, "--gtest_list_tests", f"--gtest_output=json:{report}"], check=True)
        found = {}
        for suite, case in cases_in(report):
            found.setdefault(pathlib.Path(case["file"]).stem, []).append(f"{suite}.{case['name']}")
        return found

    def run(self, directory, theme, who):
        """Result by case name: "passed", "skipped", or the text of the failure."""
        report = self.reports / f"{directory.name}-{theme}-{who}.json"
        ids = {"uid": RUNNERS[who], "gid": RUNNERS[who]} if RUNNERS[who] else {}
        done = self.node.run([self.program, f"--gtest_filter={':'.join(self.cases[theme])}", f"--gtest_output=json:{report}"],
                             within=240, env={"BATON_PARITY_DIR": str(directory / who)}, **ids)
        if not report.exists():
            return {name: f"the program ended with {done.returncode}\n{done.stdout[-2000:]}" for name in self.cases[theme]}
        return {f"{suite}.{case['name']}": outcome(case) for suite, case in cases_in(report)}


def cases_in(report):
    for suite in json.loads(report.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            yield suite["name"], case


def outcome(case):
    failure = "\n".join(failure["failure"] for failure in case.get("failures", []))
    return failure or ("skipped" if case["result"] == "SKIPPED" else "passed")


def opened(own):
    made = Arena(own)
    try:
        yield made
    except BaseException:
        made.lab.close(check=False)
        raise
    made.lab.close()


@pytest.fixture(scope="module")
def arena():
    yield from opened(own=False)


@pytest.fixture(scope="module")
def own_arena():
    yield from opened(own=True)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize("theme", THEMES)
def test_mount_is_as_a_local_directory(arena, theme, who):
    """Issue 3: every case gives on the mount what it gives on a local file system; root and an ordinary user."""
    compare(arena, theme, who)


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_mount_of_an_ordinary_user_is_as_a_local_directory(own_arena, theme):
    """A5: the same where batond and batonfs are that user's own."""
    compare(own_arena, theme, "own")


def compare(arena, theme, who):
    local, mounted = arena.run(arena.local, theme, who), arena.run(arena.mounted, theme, who)
    wrong = {name: text for name, text in local.items() if text not in ("passed", "skipped")}
    assert not wrong, "these fail on a local directory:\n" + told(wrong)
    differ = {name: text for name, text in mounted.items() if text != local[name]}
    listed = {name for name in local for pattern, _ in differences(who) if fnmatch.fnmatchcase(name, pattern)}
    unlisted = {name: text for name, text in differ.items() if name not in listed}
    gone = sorted(listed - differ.keys())
    assert not unlisted, f"{len(unlisted)} of {len(local)} differ on the mount:\n" + told(unlisted)
    assert not gone, f"differences.txt lists what does not differ: {gone}"


def test_every_listed_difference_is_a_case(arena):
    """A pattern that matches nothing lists nothing."""
    known = [name for cases in arena.cases.values() for name in cases]
    idle = [pattern for who in RUNNERS for pattern, _ in differences(who) if not fnmatch.filter(known, pattern)]
    assert not idle
    assert len(known) >= 400


def told(results):
    return "\n".join(f"--- {name}\n{text}" for name, text in sorted(results.items()))
