"""A node of a laboratory: a machine of its own, as far as batonfs can see, that can be cut off, frozen and killed."""
import errno
import os
import pathlib
import signal
import subprocess

from .place import Place, state_of, stop
from .remote import Remote
from .server import Daemon
from .waiting import eventually

BATONFS = "fuse.batonfs"


class LinkDown:
    """The cable is pulled: the node sees it."""

    CUT = "ip link set eth0 down"
    MEND = "ip link set eth0 up"


class PacketsDropped:
    """The network swallows everything: nobody sees anything."""

    CUT = ("nft 'add table inet lab; add chain inet lab in { type filter hook input priority 0; policy drop; }; "
           "add chain inet lab out { type filter hook output priority 0; policy drop; }'")
    MEND = "nft 'delete table inet lab'"


class Mount(Daemon):
    """A run of batonfs on a node, in the foreground of its own process."""

    def __init__(self, node, program, source, point, options):
        self.point = point
        argv = [program, source, point, "-f", "-o", ",".join(options)]
        super().__init__(node, f"batonfs on {node.name} at {os.path.basename(point)} run {len(node.runs)}", argv)

    def start(self, within=20.0):
        self.spawn()

        def mounted():
            if not self.alive:
                raise AssertionError(f"batonfs ended with {self.process.returncode}:\n{self.log()}")
            return (self.point, BATONFS) in self.place.mounts()
        eventually(mounted, within, f"{self.title} is mounted")
        return self

    def kill(self):
        """SIGKILL, and the dead mount is taken out of the way, as a supervisor would, so that the next one can come."""
        super().kill()
        self.place.shell(f"umount -l {self.point} 2>/dev/null || true")

    def unmount(self, within=10.0):
        """umount(8), cleanly: the exit status of batonfs."""
        self.place.shell(f"umount {self.point}")
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.title} did not end within {within} s of umount\n{self.log()[-4000:]}") from None


class Node(Place):
    """`mount`: the newest mount made with mount(). `programs`: the processes made with python()."""

    def __init__(self, name, lab):
        super().__init__(name, lab.directory)
        self.lab = lab
        self.runs = []
        self.programs = []
        self._cut = None

    def mount(self, *options, server=None, at=None, node=None):
        """Mounts the export; without options, with the laboratory's. Without `node=` the node's name is this node's."""
        server = server or self.lab.the_server
        point = str(at or self.lab.mount_point)
        os.makedirs(point, exist_ok=True)
        mount = Mount(self, self.lab.programs / "batonfs", server.address, point,
                      [f"node={node or self.name}", *(options or self.lab.mount_options)])
        self.runs.append(mount)
        return mount.start()

    def remount(self):
        """A new run of the newest mount, as a supervisor would start it after its end."""
        old = self.runs[-1]
        mount = Mount(self, old.argv[0], old.argv[1], old.point, old.argv[-1].split(","))
        self.runs.append(mount)
        return mount.start()

    def python(self, cwd=None, **who):
        """A process on the node that does what it is told; it works in the mount unless `cwd` says otherwise. Who it
        is: instance=, version=, takeover=, env=, uid=, gid=; interpreter= is a python of another path."""
        program = Remote.start(self, cwd=str(cwd or self.lab.mount_point), **who)
        self.programs.append(program)
        return program

    def restarted(self, path, within=10.0, mode="rw", **who):
        """As a supervisor does it: starts the program until the file is opened or refused with anything but ESTALE, which
        it gets until the node knows of its fence (T7). The program and its descriptor."""
        def granted():
            program = self.python(cwd="/", **who)
            try:
                return program, program.open(path, mode)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                program.kill()
                return None
        return eventually(granted, within, f"a program started anew on {self.name} is not refused with ESTALE")

    # --- how a node fails -------------------------------------------------------------------------------------------------

    def cut(self, how=LinkDown):
        self.shell(how.CUT)
        self._cut = how

    def mend(self):
        if self._cut:
            self.shell(self._cut.MEND)
            self._cut = None

    @property
    def is_cut(self):
        return self._cut is not None

    def freeze(self):
        """SIGSTOP to the programs and the mounts: the node is as if asleep."""
        for program in self.programs:
            if program.alive:
                stop(program.pid)
        for mount in self.runs:
            if mount.alive:
                mount.freeze()

    def thaw(self):
        for mount in self.runs:
            if mount.alive:
                mount.thaw()
        for program in self.programs:
            if program.alive:
                os.kill(program.pid, signal.SIGCONT)

    def kill_mount(self):
        self.runs[-1].kill()

    def crash(self):
        """Power off and on: every process ends without a word, the link comes back with the next boot."""
        self.cut()
        for mount in self.runs:
            if mount.alive:
                mount.process.kill()
        for pid in self.pids():
            try:
                # A guard ends by itself, after its mount: a machine's kernel dies with the machine, this one must not hang.
                if pathlib.Path(f"/proc/{pid}/comm").read_text() != "baton-guard\n":
                    os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass
        eventually(lambda: all(state_of(pid) in "ZX" for pid in self.pids()), 10.0, f"{self.name} is dead")
        for process in self.processes:
            process.wait(10)   # a zombie would still look alive to a program that asks for its pid
        for mount in self.runs:
            mount.kill()
        self.mend()
        self.new_boot()
