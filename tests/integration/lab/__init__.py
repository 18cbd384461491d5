"""A laboratory for batonfs: a server and nodes on one machine, each in namespaces of its own.

    lab = Lab(directory)                      # the server's host: a network with a bridge
    server = lab.server("--lease", "1s")      # batond
    node = lab.node("one")                    # network, mount and host-name namespace, machine id, boot id
    mount = node.mount()                      # batonfs at lab.mount_point, seen on this node only
    program = node.python(instance=GUID)      # a process on the node, driven call by call
    fd = program.open("file", "rw")           # OSError here if OSError there

Nothing has a name outside its namespaces, so any number of laboratories can run side by side; all of one ends when the
process that made it ends, however it ends. Process ids and System V IPC are one for all, save for programs that are
started with alone=True. Needs root.
"""
from .deaths import DEATHS, EVERY_DEATH, Death
from .lab import Lab
from .node import LinkDown, Node, PacketsDropped
from .remote import Pending, Remote, refused
from .waiting import eventually

__all__ = ["DEATHS", "Death", "EVERY_DEATH", "Lab", "LinkDown", "Node", "PacketsDropped", "Pending", "Remote",
           "eventually", "refused"]
