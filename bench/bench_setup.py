"""What the benches have in common: a server and mounts on loopback in a temporary directory, and how figures are shown."""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="where the programs are")
    parser.add_argument("--dir", help="where to put the temporary directory (default: beside the build)")
    return parser


def wait_for(condition, what, within=20.0):
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what} did not happen within {within:.0f} s")
        time.sleep(0.005)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stage:
    """A directory, a batond on it, and mounts of it; `close` takes all of it down."""

    def __init__(self, options, server_options=()):
        if os.geteuid() != 0:
            sys.exit("bench: mounts for several nodes need root")
        self.bin = options.bin
        parent = options.dir or str(ROOT / "build")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
        self.export = self.directory / "export"
        self.export.mkdir()
        self.state = self.directory / "state"
        self.address = f"127.0.0.1:{free_port()}"
        self.mounts = {}  # the processes, by name
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._server_words = ["--export", self.export, "--state-dir", self.state, "--listen", self.address, "--log-level", "error",
                              *server_options]
        self.server = self.start("batond", *self._server_words)
        host, port = self.address.split(":")

        def listening():
            if self.server.poll() is not None:
                sys.exit("bench: batond ended; see above")
            with socket.socket() as attempt:
                return attempt.connect_ex((host, int(port))) == 0
        wait_for(listening, "batond listening")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def start(self, program, *words, **more):
        process = subprocess.Popen([str(self.bin / program), *map(str, words)], **more)

        def end():
            if process.stdin:
                process.stdin.close()
            process.terminate()
            process.wait(30)
        self._stack.callback(end)
        return process

    def restart(self):
        """SIGKILL to batond, and a new one; does not wait for its port."""
        self.server.kill()
        self.server.wait(30)
        self.server = self.start("batond", *self._server_words)

    def mounted(self, name, command):
        """Runs a file system in the foreground; its mount point."""
        point = self.directory / name
        point.mkdir(exist_ok=True)
        process = subprocess.Popen([str(word) for word in command(point)], stderr=subprocess.DEVNULL)
        self.mounts[name] = process

        def end():
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
            process.wait(30)
        self._stack.callback(end)
        wait_for(lambda: os.path.ismount(point), f"mounting {name}")
        return point

    def mount(self, name, *more):
        return self.mounted(name, lambda point: [self.bin / "batonfs", self.address, point, "-f", "-o",
                                                 ",".join([f"node={name}", *more])])


def percentiles(samples):
    ordered = sorted(samples)
    return {name: ordered[round(part * (len(ordered) - 1))] for name, part in (("p50", .5), ("p90", .9), ("p99", .99))}


def median(samples):
    return statistics.median(samples)


def show(options, result, lines):
    """The result as JSON, or the lines; both say how busy the machine was."""
    result["load"] = os.getloadavg()[0]
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(lines))
        print(f"load average {result['load']:.1f} on {os.cpu_count()} cores; times in {result.get('unit', 'microseconds')}")
