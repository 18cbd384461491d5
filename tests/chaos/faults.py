"""What is done to the server and to the nodes of a chaos run: a thread for each, with random choices of its own."""
import os
import random
import pathlib
import signal
import subprocess
import threading
import time
import traceback

from lab import LinkDown, PacketsDropped


FUSE_CONNECTIONS = pathlib.Path("/sys/fs/fuse/connections")


class HearsNothing:
    """What others send is lost on the way to the node."""
    CUT = "nft 'add table inet lab; add chain inet lab in { type filter hook input priority 0; policy drop; }'"
    MEND = PacketsDropped.MEND


class SaysNothing:
    """What the node sends is lost."""
    CUT = "nft 'add table inet lab; add chain inet lab out { type filter hook output priority 0; policy drop; }'"
    MEND = PacketsDropped.MEND


CUTS = [LinkDown, PacketsDropped, HearsNothing, SaysNothing]


class Faults(threading.Thread):
    """Does `once` over and over until stop()."""

    def __init__(self, played, name):
        super().__init__(name=name, daemon=True)
        self.played = played
        self.actions = played.actions
        self.dice = random.Random(f"{played.seed} {name}")
        self.failed = None
        self._over = threading.Event()

    def run(self):
        try:
            while not self._over.is_set():
                self.once()
        except Exception:  # pylint: disable=broad-except
            self.failed = f"{self.name}: {traceback.format_exc()}"
        finally:
            self.heal()

    def wait(self, seconds):
        """Whether there is still time."""
        return not self._over.wait(seconds)

    def stop(self):
        self._over.set()
        if self.is_alive():
            self.join(60)

    def heal(self):
        pass


class ServerFaults(Faults):
    """SIGKILL and a new start, every second or so."""

    def __init__(self, played):
        super().__init__(played, "server")
        self.kills = 0

    def kills_left(self):
        most = self.played.options.kills
        return not most or self.kills < most

    def once(self):
        if not self.wait(self.dice.uniform(0.3, 2.0) * self.played.options.every) or not self.kills_left():
            self._over.set()
            return
        server = self.played.server
        begin = time.monotonic()
        server.kill()
        self.kills += 1
        self.actions.did("server-kill", begin, number=self.kills)
        self.wait(self.dice.choice([0, 0, 0.1, 0.3]))
        begin = time.monotonic()
        server.start()
        self.actions.did("server-up", begin)

    def heal(self):
        if not self.played.server.alive:
            self.played.server.start()
            self.actions.did("server-up")


class NodeFaults(Faults):
    """One thing after the other happens to the node. Two thirds of the breaks are short enough to be pauses only."""

    def __init__(self, played, node):
        super().__init__(played, node.name)
        self.node = node
        self.usable = threading.Lock()   # who starts programs on the node has it; it is not there while the node is frozen or unmounted

    def once(self):
        if self.wait(self.dice.uniform(0.5, 5.0)):
            self.dice.choice([self.cut, self.cut, self.freeze, self.freeze, self.kill_mount])()

    def length(self):
        lease = self.played.options.lease
        if self.dice.random() < 2 / 3:
            return self.dice.uniform(0.02, 0.4) * lease
        return self.dice.uniform(0.5, 3.0) * lease

    def cut(self):
        how, length = self.dice.choice(CUTS), self.length()
        begin = time.monotonic()
        self.node.cut(how)
        self.actions.did("cut", begin, node=self.node.name, how=how.__name__, length=length)
        self.wait(length)
        self.mend()

    def mend(self):
        begin = time.monotonic()
        self.node.mend()
        self.actions.did("mend", begin, node=self.node.name)

    def freeze(self):
        length = self.length()
        with self.usable:
            self.actions.did("freeze", node=self.node.name, length=length)
            self.signal_all(signal.SIGSTOP)
            self.wait(length)
            begin = time.monotonic()
            self.signal_all(signal.SIGCONT)
            self.actions.did("thaw", begin, node=self.node.name)

    def signal_all(self, number):
        """Who waits for a mount stops only when that has answered: nobody waits for that here."""
        for pid in self.node.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_mount(self):
        with self.usable:
            self.actions.did("mount-kill", node=self.node.name)
            self.end_mount()
            if self.dice.random() < 0.5:
                self.played.jobs.kill_all(self.node)
            self.wait(self.dice.choice([0, 0.1, 1.0]))
            begin = time.monotonic()
            self.remount()
            self.actions.did("mount", begin, node=self.node.name)

    def end_mount(self):
        """SIGKILL, which must be the end of it. If it is not, its connection is aborted, so that the run goes on and what waits for
        it ends."""
        mount = self.node.runs[-1]
        device = os.minor(self.device(mount.point))
        try:
            mount.kill()
        except subprocess.TimeoutExpired:
            self.played.problems.append(f"{mount.title} did not end within 10 s of SIGKILL")
            FUSE_CONNECTIONS.joinpath(str(device), "abort").write_text("1")
            mount.kill()

    def device(self, point):
        """The mount's device, without asking the mount."""
        for line in (self.node.path("/proc") / str(self.node.pid) / "mountinfo").read_text().splitlines():
            words = line.split()
            if words[4] == str(point):
                return os.makedev(*map(int, words[2].split(":")))
        raise AssertionError(f"nothing is mounted at {point}")

    def remount(self, within=30.0):
        """The server may be away at that moment."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self.node.remount()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def heal(self):
        if self.node.is_cut:
            self.mend()
