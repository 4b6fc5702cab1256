"""Where the embedded engine keeps its files.

State lives in `.seakeep/` beside the spec. Sockets live in a short private folder of their
own, since a Unix socket's path may have 107 bytes at most and a project's path is often longer.
"""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

STATE_FOLDER = ".seakeep"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one system on this machine."""

    state: Path
    """`.seakeep/`, absolute."""

    @property
    def sockets(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"seakeep-{os.getuid()}" / digest

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets / "supervisor"

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def identity(self) -> Path:
        """Token, addresses and epoch of the system: see `engines.local.engine`."""
        return self.state / "system.json"

    def node(self, node: str) -> Path:
        return self.state / "nodes" / flat(node)

    def node_socket(self, node: str) -> Path:
        return self.sockets / f"node.{flat(node)}"

    def edge(self, region: str) -> Path:
        return self.state / "edges" / region

    def edge_socket(self, region: str) -> Path:
        """Envoy's admin interface."""
        return self.sockets / f"edge.{region}"

    def link(self, region: str) -> Path:
        return self.state / "links" / region

    def link_socket(self, region: str) -> Path:
        return self.sockets / f"link.{region}"

    def holder(self, region: str) -> Path:
        return self.state / "holders" / region

    def holder_socket(self, region: str) -> Path:
        return self.sockets / f"holder.{region}"

    def dns(self, region: str) -> Path:
        return self.state / "dns" / region

    def dns_socket(self, region: str) -> Path:
        return self.sockets / f"dns.{region}"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    def log(self, name: str) -> Path:
        """`web-7.log`, `edge.us-east.log`, `supervisor.log`."""
        return self.logs / f"{flat(name)}.log"

    def power(self, place: str) -> Path:
        """Lock file of a region, zone or node (`us-east`, `us-east/a`, `us-east/a/0`): whoever
        holds it exclusively has cut the power there."""
        return self.state / "power" / f"{flat(place)}.lock"

    def create(self) -> None:
        """Make the folders; private to the user, since logs and sockets are."""
        for folder in (self.state, self.journal, self.logs, self.state / "power"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        parent = self.sockets.parent
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{parent} belongs to someone else")
        self.sockets.mkdir(mode=0o700, exist_ok=True)


def flat(name: str) -> str:
    """A name as one path component: `us-east/a/0` -> `us-east.a.0`."""
    return name.replace("/", ".").replace(":", ".")


def layout_for(project: Path) -> Layout:
    """The layout of the system whose spec lies in the folder `project`."""
    return Layout(state=project.resolve() / STATE_FOLDER)
