"""What a caller shows to a server, and how it tells that the server is the right one."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

ADMIN_HEADER = "triton-grpc-protocol-admin-key"
_CONTROL = frozenset(
    {
        "load_model",
        "unload_model",
        "get_model_repository_index",
        "get_model_config",
        "get_trace_settings",
        "update_trace_settings",
        "get_log_settings",
        "update_log_settings",
    }
)


@dataclass(frozen=True)
class Credentials:
    """Keys and PEM files; all that are None are left out.

    Args:
        admin_key: opens the server's control protocols; it is sent with calls of those alone.
        api_key: tells a front proxy who calls; it is sent with every call, as `authorization: Bearer KEY`.
        root_certificates: file of the authorities that the server's certificate may be of; turns TLS on.
        private_key: file of the client certificate's key.
        certificate_chain: file of the client certificate, for servers that ask for one.

    Raises:
        ValueError: a client certificate without its key or without `root_certificates`, or a key without its
            certificate.
        OSError: a file cannot be read.
    """

    admin_key: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    root_certificates: str | PathLike[str] | None = None
    private_key: str | PathLike[str] | None = None
    certificate_chain: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("a client certificate and its key go together.")
        if self.private_key is not None and self.root_certificates is None:
            raise ValueError("a client certificate needs the server's authorities too: give the root certificates.")
        for path in (self.root_certificates, self.private_key, self.certificate_chain):
            if path is not None:
                open(path, "rb").close()

    def headers(self, method: str) -> dict[str, str]:
        """What goes with a call of tritonclient's `method`."""
        headers = {}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        if self.admin_key and method in _CONTROL:
            headers[ADMIN_HEADER] = self.admin_key
        return headers

    def tls(self) -> dict[str, Any]:
        """The arguments of tritonclient's clients that turn TLS on; none without `root_certificates`."""
        if self.root_certificates is None:
            return {}
        files = {
            "root_certificates": self.root_certificates,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
        }
        return {"ssl": True, **{name: fspath(path) for name, path in files.items() if path is not None}}
