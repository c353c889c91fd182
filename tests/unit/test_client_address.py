"""What people write for a server's address: used where it can be, a sentence that says what to write where not."""

import pytest
import recast
from recast.address import address


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost:8001", "localhost:8001"),
        ("recast.example", "recast.example:8001"),
        (" recast.example:9001\n", "recast.example:9001"),
        ("recast.example:9001/", "recast.example:9001"),
        ("10.0.0.7", "10.0.0.7:8001"),
        ("[::1]:8001", "[::1]:8001"),
        ("[::1]", "[::1]:8001"),
        ("[fe80::1%eth0]:9001", "[fe80::1%eth0]:9001"),
        ("grpc://recast.example:9001", "recast.example:9001"),
        ("GRPC://recast.example", "recast.example:8001"),
        ("dns:///recast.example:9001", "dns:///recast.example:9001"),
        ("dns:///recast.example", "dns:///recast.example:8001"),
        ("dns:recast.example:9001", "dns:recast.example:9001"),
        ("dns://10.0.0.1/recast.example:9001", "dns://10.0.0.1/recast.example:9001"),
        ("unix:/run/recast.sock", "unix:/run/recast.sock"),
        ("unix:///run/recast.sock", "unix:///run/recast.sock"),
        ("ipv4:10.0.0.7:8001,10.0.0.8:8001", "ipv4:10.0.0.7:8001,10.0.0.8:8001"),
    ],
)
def test_what_can_be_used_is(text, target):
    assert address(text).target == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (None, "NoneType"),
        (b"localhost:8001", "bytes"),
        (8001, "int"),
        ("http://recast.example:8000", "HTTP.*8001: write recast.example:8001"),
        ("HTTP://recast.example/v2/models", "write recast.example:8001"),
        ("https://recast.example", "--tls-ca"),
        ("grpcs://recast.example:8001", "--tls-ca"),
        ("ftp://recast.example", "ftp:// is unknown.*recast.example:8001"),
        ("recast.example:8001/v2", "path"),
        ("grpc://recast.example:8001/v2", "path"),
        ("recast.example 8001", "space"),
        ("recast.example:80 01", "space"),
        ("recast.example:port", "no host:port"),
        ("recast.example:", "no host:port"),
        (":8001", "no host:port"),
        ("recast.example:0", "ports are"),
        ("recast.example:65536", "ports are"),
        ("::1", "brackets"),
        ("::1:8001", "brackets"),
        ("fe80::1", "brackets"),
        ("me:secret@recast.example:8001", "before @"),
        ("a:8001,b:8001", "no host:port"),
    ],
)
@pytest.mark.parametrize("client", [recast.Client, recast.AsyncClient])
def test_what_cannot_is_refused_when_the_client_is_made(client, text, words):
    with pytest.raises(recast.InvalidOption, match=words) as error:
        client(text)
    assert "secret" not in str(error.value)


def test_a_socket_file_and_the_addresses_of_this_machine_reach_the_server(scripted_server, connect):
    port = scripted_server.grpc_url.rpartition(":")[2]
    for text in (f"grpc://localhost:{port}", f"dns:///localhost:{port}", f" 127.0.0.1:{port}/"):
        with connect(text, timeout=10) as client:
            assert client.status().ready


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_proxy_variable_does_not_catch_calls_to_this_machine(scripted_server, connect, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody there
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    port = scripted_server.grpc_url.rpartition(":")[2]
    for text in (scripted_server.grpc_url, f"127.0.0.1:{port}", f"dns:///localhost:{port}"):
        with connect(text, timeout=10) as client:
            assert client.status().ready
