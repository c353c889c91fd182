"""Which release answers a request while a canary has a share of them: the newest passes the others on."""

import hashlib
from pathlib import Path

from serving.releases import release_state

_WHOLE = 1 << 64


class Canary:
    """What the release state in `repository` says about release `version` of `step`, read again when it has changed."""

    def __init__(self, repository: Path, step: str, version: int):
        self._repository = repository
        self._step, self._version = step, version
        self._seen: tuple[int, int] | None = None
        self._share, self._in_force = 1.0, version

    def active(self) -> bool:
        """Whether this release is a canary, so that some requests are not for it."""
        try:
            now = (self._repository / release_state.NAME).stat()
        except FileNotFoundError:
            return False
        if (now.st_mtime_ns, now.st_ino) != self._seen:
            entry = release_state.read(self._repository).get(self._step)
            if entry is not None and entry.canary == self._version:
                self._share, self._in_force = entry.share, entry.release
            else:
                self._share, self._in_force = 1.0, self._version
            self._seen = (now.st_mtime_ns, now.st_ino)
        return self._in_force != self._version

    def release_for(self, key: bytes) -> int:
        """The release that answers all requests of this key."""
        return self._version if not self.active() or share_point(key) < self._share else self._in_force


def share_point(key: bytes) -> float:
    """Where a key stands between 0 and 1: always the same, and evenly spread over keys.

    A canary with the share s answers the keys below s.
    """
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / _WHOLE
