"""Where a URL points to, and whether traffic may go there."""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from seakeep.load.accesslog import LineError, origin_form
from seakeep.load.plan import Lane, PlanError, Target
from seakeep.model.observation import Address

URL_HINT = "write it as http://127.0.0.1:8080/path"


def target_of_url(url: str) -> tuple[Target, str]:
    """The target of an http URL, its name looked up once, and the path with its query. Raises
    PlanError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise PlanError(f"{url!r} is not a URL: {error}", URL_HINT) from error
    if parts.scheme == "https":
        raise PlanError(f"{url!r}: TLS is not spoken", "point it at a plain http listener")
    if parts.scheme != "http" or not parts.hostname:
        raise PlanError(f"{url!r} is not an http URL", URL_HINT)
    if parts.username is not None:
        raise PlanError("a URL with a user or password is not taken", URL_HINT)
    try:
        path = origin_form((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii").decode()
    except (LineError, UnicodeError) as error:
        raise PlanError(f"{url!r}: {error}", URL_HINT) from error
    if any(not 0x20 < ord(character) < 0x7F for character in host):
        raise PlanError(f"{url!r} has an odd character in its host", URL_HINT)
    address = Address(host=_look_up(parts.hostname, port), port=port)
    return Target(address=address, host=host), path


def _look_up(host: str, port: int) -> str:
    """The address of a name; IPv4 first, as most local servers listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PlanError(f"cannot look up {host}: {error}", URL_HINT) from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def require_loopback(lanes: Iterable[Lane]) -> None:
    """Refuse to send load beyond this machine: a typo could hit somebody else's. Raises
    PlanError."""
    for lane in lanes:
        host = lane.target.address.host
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise PlanError(
                f"{lane.source} would send to {host}, which is not this machine",
                "if you mean it, and are allowed to, add --allow-remote",
            )
