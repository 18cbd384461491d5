"""The laboratory: one network with one server's host and any number of nodes."""
import os
import pathlib
import shutil
import tempfile

from .node import Node
from .place import Place
from .server import Server

DEFAULT_PROGRAMS = pathlib.Path(__file__).resolve().parents[3] / "build" / "release" / "bin"


class Lab:
    """Addresses are the laboratory's own: the server's host is 10.77.0.1, the nodes follow."""

    def __init__(self, programs=None):
        self.programs = pathlib.Path(programs or os.environ.get("BATON_BIN", DEFAULT_PROGRAMS)).resolve()
        base = os.environ.get("BATON_TEST_DIR", "/var/tmp")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="baton-lab-", dir=base))
        self.directory.chmod(0o755)
        self.export = self.directory / "export"
        self.export.mkdir()
        self.export.chmod(0o777)
        self.mount_point = self.directory / "mnt"
        self.mount_point.mkdir()
        self.mount_options = ()  # what node.mount() uses unless it is given others
        self.servers = []
        self.nodes = []
        self.host = None
        try:
            self.host = Place("host", self.directory)
            self.host.shell("ip link add br0 type bridge && ip addr add 10.77.0.1/24 dev br0 && ip link set br0 up")
        except BaseException:
            self.close(check=False)
            raise

    @property
    def the_server(self):
        return self.servers[0]

    def names(self):
        """What is in the export's root, sorted, but for the server's own directory of hidden links (D2)."""
        return sorted(set(os.listdir(self.export)) - {".baton"})

    def server(self, *options, export=None, start=True):
        """A batond on the server's host; the first one is the nodes' default."""
        number = len(self.servers)
        server = Server(self.host, self.programs, export or self.export, self.directory / f"state{number}", "10.77.0.1",
                        7740 + number, options)
        self.servers.append(server)
        return server.start() if start else server

    def node(self, name=None):
        number = len(self.nodes) + 2
        node = Node(name or f"node{number - 1}", self)
        self.nodes.append(node)
        self.host.shell(f"ip link add port{number} type veth peer name eth0 netns {node.pid} && "
                        f"ip link set port{number} master br0 up")
        node.shell(f"ip addr add 10.77.0.{number}/24 dev eth0 && ip link set eth0 up")
        return node

    def logs(self):
        """(title, text) of every daemon and program that wrote something."""
        places = [place for place in (self.host, *self.nodes) if place]
        found = [(title, path.read_text(errors="replace")) for place in places for title, path in place.logs if path.exists()]
        return [(title, text) for title, text in found if text.strip()]

    def close(self, check=True):
        """Ends everything. With `check`: a daemon that reported a bug, died, or does not end when asked is an error."""
        errors = []
        try:
            for node in self.nodes:
                for program in node.programs:
                    program.kill()
                self._end_mounts(node, check, errors)
            for server in self.servers:
                if check and server.alive and not server.frozen:
                    self._end(server.terminate, errors)
            daemons = [*self.servers, *(mount for node in self.nodes for mount in node.runs)]
            errors += [f"{daemon.title}: {bug}" for daemon in daemons if (bug := daemon.bug())]
        finally:
            for place in (*self.nodes, self.host):
                if place:
                    place.close()
            for server in self.servers:
                server.close_notify()
        logs = "".join(f"\n--- {title}\n{text[-6000:]}" for title, text in self.logs()) if errors else ""
        self.remove()
        if errors and check:
            raise AssertionError("\n".join(errors) + logs)

    def _end_mounts(self, node, check, errors):
        for mount in node.runs:
            if check and mount.alive and not mount.frozen and not node.is_cut and any(s.alive for s in self.servers):
                self._end(mount.terminate, errors)

    @staticmethod
    def _end(ending, errors):
        try:
            status = ending()
            if status != 0:
                errors.append(f"{ending.__self__.title} ended with {status}")
        except AssertionError as error:
            errors.append(str(error))

    def remove(self):
        if os.environ.get("BATON_KEEP") is None:
            shutil.rmtree(self.directory, ignore_errors=True)
