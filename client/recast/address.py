"""Where a server is: what callers write for it, and what gRPC wants to hear."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from .errors import InvalidOption

DEFAULT_PORT = 8001
EXAMPLE = f"localhost:{DEFAULT_PORT}"

_SOCKETS = ("unix:", "unix-abstract:", "vsock:")
_LISTS = ("ipv4:", "ipv6:", "xds:")
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-f:.%a-z]+\]|[^\s:/?#@,\[\]\\]+)(?::(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A gRPC target, and whether it is on this very machine."""

    target: str
    is_local: bool


def address(text: str) -> Address:
    """The address that `text` names: host:port, a host alone (port 8001), [IPv6]:port, grpc://host:port, dns:///host:port,
    unix:/path, or another target of gRPC's own.

    Raises InvalidOption, which says what to write instead.
    """
    if not isinstance(text, str):
        raise InvalidOption(f"the server's address is a {type(text).__name__}; it is text, such as {EXAMPLE!r}.")
    text = text.strip()
    if not text:
        raise InvalidOption(f"the server's address is empty; it is host:port, such as {EXAMPLE}.")
    if "@" in text:  # and its secret goes into no message
        raise InvalidOption(
            f"the server's address holds a name or password before @; it is host:port, such as {EXAMPLE}."
        )
    if any(sign.isspace() or not sign.isprintable() for sign in text):
        raise InvalidOption(f"the server's address {text!r} has a space in it; it is host:port, such as {EXAMPLE}.")
    lowered = text.lower()
    if lowered.startswith(_SOCKETS):
        return Address(text, is_local=True)
    if lowered.startswith(_LISTS):
        return Address(text, is_local=False)
    if lowered.startswith("dns:"):
        return _by_dns(text)
    if (url := _SCHEME.fullmatch(text)) is None:
        host, target = _host_port(text, text)
    elif url["scheme"].lower() == "grpc":
        host, target = _host_port(url["rest"], text)
    else:
        raise InvalidOption(_other_scheme(text, url["scheme"].lower(), url["rest"]))
    return Address(target, _is_local(host))


def _by_dns(text: str) -> Address:
    """dns:host:port, dns:///host:port and dns://resolver/host:port."""
    prefix = re.match(r"dns:(//[^/]*/)?", text, re.IGNORECASE)
    start = prefix.end() if prefix else 0
    host, target = _host_port(text[start:], text)
    return Address(f"{text[:start].lower()}{target}", _is_local(host))


def _host_port(rest: str, text: str) -> tuple[str, str]:
    """The host in `rest`, the end of the address `text`, and the host with its port."""
    found = _HOST_PORT.fullmatch(rest)
    if found is None:
        raise InvalidOption(_malformed(rest, text))
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise InvalidOption(f"the server's address {text!r} has the port {port}; ports are 1 to 65535.")
    return found["host"], f"{found['host']}:{port}"


def _malformed(rest: str, text: str) -> str:
    if rest.count(":") > 1 and "[" not in rest and "," not in rest:
        return f"the server's address {text!r}: an IPv6 address stands in brackets, such as [::1]:{DEFAULT_PORT}."
    if "/" in rest or "?" in rest or "#" in rest:
        return f"the server's address {text!r} has a path; gRPC has none: write host:port, such as {EXAMPLE}."
    return f"the server's address {text!r} is no host:port, such as {EXAMPLE}."


def _other_scheme(text: str, scheme: str, rest: str) -> str:
    found = _HOST_PORT.match(rest)
    host = found["host"] if found else "localhost"
    instead = f"{host}:{DEFAULT_PORT}"
    if scheme == "http":
        return f"{text} is an address of HTTP, and this client speaks gRPC, usually on port 8001: write {instead}."
    if scheme in ("https", "grpcs"):
        return f"{text}: TLS is no part of the address: write {instead}, and name the server's authority (--tls-ca)."
    return f"{text}: {scheme}:// is unknown here; write host:port, such as {instead}."


def _is_local(host: str) -> bool:
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified
