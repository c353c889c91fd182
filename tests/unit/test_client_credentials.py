"""What the clients send of their credentials, with which calls."""

import asyncio

import pytest
import recast
from recast.credentials import ADMIN_HEADER

from tests.unit.client_answers import PARSE

KEYS = recast.Credentials(admin_key="an-admin-key-of-mine", api_key="an-api-key")


def test_the_admin_key_goes_with_control_alone_and_the_api_key_with_everything():
    bearer = {"authorization": "Bearer an-api-key"}
    for method in ("infer", "get_server_metadata", "is_model_ready", "get_model_metadata"):
        assert KEYS.headers(method) == bearer
    for method in ("load_model", "unload_model", "get_model_repository_index", "get_model_config"):
        assert KEYS.headers(method) == {**bearer, ADMIN_HEADER: "an-admin-key-of-mine"}
    assert recast.Credentials().headers("load_model") == {}


def test_keys_are_not_shown():
    assert "an-a" not in repr(KEYS)


def test_both_clients_send_the_api_key(scripted_server):
    scripted_server.script = [PARSE]
    with recast.Client(scripted_server.grpc_url, credentials=KEYS) as client:
        client.parse("x")

    async def awaited():
        async with recast.AsyncClient(scripted_server.grpc_url, credentials=KEYS) as client:
            await client.parse("x")

    asyncio.run(awaited())
    assert [headers.get("authorization") for headers in scripted_server.headers] == ["Bearer an-api-key"] * 2
    assert not any(ADMIN_HEADER in headers for headers in scripted_server.headers)


def test_half_a_certificate_and_absent_files_are_refused(tmp_path):
    pem = tmp_path / "some.pem"
    pem.touch()
    for half in ({"private_key": pem}, {"certificate_chain": pem}):
        with pytest.raises(ValueError, match="together"):
            recast.Credentials(root_certificates=pem, **half)
    with pytest.raises(ValueError, match="authorities"):
        recast.Credentials(private_key=pem, certificate_chain=pem)
    with pytest.raises(FileNotFoundError):
        recast.Credentials(root_certificates=tmp_path / "absent.pem")


def test_files_turn_tls_on(tmp_path):
    pem = tmp_path / "some.pem"
    pem.touch()
    assert recast.Credentials().tls() == {}
    assert recast.Credentials(root_certificates=pem).tls() == {"ssl": True, "root_certificates": str(pem)}
