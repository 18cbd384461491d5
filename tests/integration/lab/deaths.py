"""The ways in which a node fails its program, and how it comes back."""
import dataclasses
import errno
from collections.abc import Callable

from .node import PacketsDropped


@dataclasses.dataclass(frozen=True)
class Death:
    name: str
    die: Callable       # of a Node
    revive: Callable    # of a Node: afterwards it has a working mount again
    old_handle: int = errno.ESTALE   # what the old program's descriptors answer after a takeover

    def __str__(self):
        return self.name


def nothing(_node):
    """A planned move: both nodes live."""


MOUNT_KILLED = Death("mount-killed", lambda node: node.kill_mount(), lambda node: node.remount(), errno.ENOTCONN)
LINK_DOWN = Death("link-down", lambda node: node.cut(), lambda node: node.mend())
PACKETS_DROPPED = Death("packets-dropped", lambda node: node.cut(PacketsDropped), lambda node: node.mend())
FROZEN = Death("frozen", lambda node: node.freeze(), lambda node: node.thaw())
PLANNED = Death("planned-move", nothing, nothing)
CRASHED = Death("crashed", lambda node: node.crash(), lambda node: node.remount())

# Those that an old program survives.
DEATHS = [MOUNT_KILLED, LINK_DOWN, PACKETS_DROPPED, FROZEN, PLANNED]
EVERY_DEATH = [*DEATHS, CRASHED]
