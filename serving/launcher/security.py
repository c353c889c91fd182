"""Who may do what: the admin key, TLS, and the address that each of Triton's protocols listens on."""

import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from serving.environment import ADMIN_KEY
from serving.launcher.preflight import LaunchError

ADMIN_HEADER = "admin-key"
"""The header on HTTP; on gRPC Triton puts `triton-grpc-protocol-` before it."""
CONTROL = ("model-repository", "model-config", "shared-memory", "trace", "logging")
"""The protocols that change what is served or read memory: for who has the admin key alone."""
SERVICE = ("metadata", "inference", "statistics")
LOOPBACK = "127.0.0.1"
_KEY = re.compile(r"[A-Za-z0-9_.~-]{16,}")


def admin_key() -> str:
    """The one in RECAST_ADMIN_KEY, else a random one; LaunchError for one that is short or unfit for a header."""
    key = os.environ.get(ADMIN_KEY) or secrets.token_urlsafe(32)
    if not _KEY.fullmatch(key):
        raise LaunchError(f"{ADMIN_KEY} must be 16 or more letters, digits, '-', '_', '.' or '~'.")
    return key


@contextmanager
def key_file(key: str) -> Iterator[Path | None]:
    """A file with `key` that only this user can read, while the block runs; None when RECAST_ADMIN_KEY gave it."""
    if os.environ.get(ADMIN_KEY):
        yield None
        return
    with tempfile.NamedTemporaryFile("w", prefix="recast-admin-key-") as file:
        file.write(key)
        file.flush()
        yield Path(file.name)


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's certificate chain and its key, and whose certificates clients must show, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """LaunchError that names what cannot be used: of such files tritonserver says that its port is in use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with _unusable(f"{self.certificate} with the key {self.key}"):
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        if self.client_ca is not None:
            with _unusable(str(self.client_ca)):
                context.load_verify_locations(self.client_ca)

    def options(self) -> list[str]:
        """tritonserver's, for gRPC: its HTTP knows no TLS."""
        options = ["--grpc-use-ssl=1", f"--grpc-server-cert={self.certificate}", f"--grpc-server-key={self.key}"]
        if self.client_ca is not None:
            options += ["--grpc-use-ssl-mutual=1", f"--grpc-root-cert={self.client_ca}"]
        return options


@dataclass(frozen=True)
class Access:
    """How a server is reached: listening on `host`, control with `admin_key`, gRPC under `tls` unless None."""

    host: str
    admin_key: str
    tls: Tls | None = None

    def address(self, protocol: str) -> str:
        """What grpc, http or metrics listens on: with TLS, the two that know none stay on this machine."""
        return self.host if self.tls is None or protocol == "grpc" else LOOPBACK

    def check(self) -> None:
        """LaunchError for what cannot be used."""
        if self.tls is not None:
            self.tls.check()

    def options(self) -> list[str]:
        """tritonserver's. Those that hold the admin key must not be seen, see `serving.launcher.hidden_arguments`."""
        closed_to_http: tuple[str, ...] = CONTROL
        if self.tls is not None and self.tls.client_ca is not None:
            closed_to_http += SERVICE  # or a certificate would be asked for on one port and not on the other
        lock = f"{ADMIN_HEADER}={self.admin_key}"
        return [
            f"--grpc-restricted-protocol={','.join(CONTROL)}:{lock}",
            f"--http-restricted-api={','.join(closed_to_http)}:{lock}",
            *(self.tls.options() if self.tls is not None else []),
            *(f"--{protocol}-address={self.address(protocol)}" for protocol in ("grpc", "http", "metrics")),
        ]

    def warnings(self) -> list[str]:
        """What the operator should know, a sentence each."""
        if self.tls is None and not _is_loopback(self.host):
            return [
                f"open on {self.host} without TLS: whoever reaches it can call every model and read metrics and "
                "pictures on the wire; use --tls-certificate and --tls-key, or a proxy in front that does."
            ]
        return []


@contextmanager
def _unusable(files: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError, without `strerror` for what is no PEM
        raise LaunchError(f"TLS cannot use {files}: {getattr(error, 'strerror', None) or error}.") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted, and tritonserver asks for no password")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
