"""Fixtures of the integration tests. Each test has a laboratory of its own; BATON_BIN names the programs' folder.

Marks: `slow` (left out under sanitizers), `unsanitized` (measures time or memory, which a sanitizer changes), `programs`
(heavy: left to scripts/test-programs).
"""
import os
import pathlib
import uuid

import pytest
from lab import Lab


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: more than a few seconds; left out under sanitizers")
    config.addinivalue_line("markers", "unsanitized: measures what a sanitizer changes")
    config.addinivalue_line("markers", "programs: heavy; left to scripts/test-programs")
    if os.geteuid() != 0:
        pytest.exit("the integration tests need root (namespaces, mounts)", 2)


@pytest.fixture
def guid():
    """A new app instance."""
    return str(uuid.uuid4())


@pytest.fixture
def other_guid():
    return str(uuid.uuid4())


@pytest.fixture
def lab(request):
    """An empty laboratory; ended, and its daemons' ends checked, after the test."""
    made = Lab()
    request.node.lab = made
    try:
        yield made
    finally:
        report = getattr(request.node, "report_of_call", None)
        made.close(check=report is not None and report.passed)


class Scene:
    """A server and two nodes with a mount each, and their directory as the server has it. The mounts wait only briefly
    for a claim (O5), so that a refusal is quick."""

    def __init__(self, lab, *options):
        self.lab = lab
        lab.mount_options = ("claim_wait=0.05",)
        self.server = lab.server(*options)
        self.one = lab.node("one")
        self.two = lab.node("two")
        self.one.mount()
        self.two.mount()

    def stored(self, name):
        """What the server's own disk holds under the name."""
        return (self.lab.export / name).read_bytes()

    def at(self, name):
        """The absolute path on the nodes: it means the newest mount, where a working directory means an old one."""
        return f"{self.lab.mount_point}/{name}"

    def store(self, name, data=b""):
        """A file that was there before anybody asked; anybody may write it."""
        path = self.lab.export / name
        path.write_bytes(data)
        path.chmod(0o666)
        return name


@pytest.fixture
def scene(lab, request):
    """Options for batond: @pytest.mark.parametrize("scene", [("--lease", "1s")], indirect=True)."""
    return Scene(lab, *getattr(request, "param", ()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.report_of_call = report
    made = getattr(item, "lab", None)
    if report.failed and made is not None and report.when != "teardown":
        for title, text in made.logs():
            report.sections.append((title, text[-8000:]))


def pytest_report_header():
    return f"programs: {os.environ.get('BATON_BIN', 'build/release/bin')}, on {pathlib.Path('/proc/version').read_text().split()[2]}"
