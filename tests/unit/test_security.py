"""What a server is refused with, and warned of, before anybody reaches it."""

from pathlib import Path

import pytest

from serving.environment import ADMIN_KEY
from serving.launcher.preflight import LaunchError
from serving.launcher.security import Access, Tls, admin_key


@pytest.mark.parametrize("key", ["short", "a key with a space in it", "sixteen:of:these", "überlang-und-seltsam"])
def test_an_unfit_admin_key_is_refused(monkeypatch, key):
    monkeypatch.setenv(ADMIN_KEY, key)
    with pytest.raises(LaunchError, match="RECAST_ADMIN_KEY must be 16 or more"):
        admin_key()


def test_an_open_address_without_tls_is_warned_of():
    assert "without TLS" in Access("0.0.0.0", "a key").warnings()[0]
    assert not Access("127.0.0.2", "a key").warnings()
    assert not Access("localhost", "a key").warnings()
    assert not Access("0.0.0.0", "a key", Tls(Path("server.pem"), Path("server.key"))).warnings()
