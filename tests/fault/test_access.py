"""Strangers: `test_<fault>_<expected>`, on gRPC and on HTTP, with no key, a wrong one and the right one."""

import asyncio
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tritonclient.grpc as grpc
from recast import AccessDenied, AsyncClient, Client, Credentials
from recast.address import address
from recast.cli import main
from recast.transport import SyncTransport, finish
from tritonclient.utils import InferenceServerException

from serving.launcher.preflight import LaunchError
from serving.launcher.security import ADMIN_HEADER, Tls
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests import certificates
from tests.served.onnx_models import TALLY, tally, write

GRPC_HEADER = f"triton-grpc-protocol-{ADMIN_HEADER}"
REFUSED = "protocol is restricted"
REGION = {"key": "/recast-test", "offset": 0, "byte_size": 4}
CUDA_REGION = {"raw_handle": {"b64": "AAAA"}, "device_id": 0, "byte_size": 4}
GRPC_CALLS = {
    "load": ("load_model", ("tally",)),
    "unload": ("unload_model", ("absent",)),
    "index": ("get_model_repository_index", ()),
    "config": ("get_model_config", ("tally",)),
    "system shared memory": ("register_system_shared_memory", ("region", "/recast-test", 4)),
    "system shared memory status": ("get_system_shared_memory_status", ()),
    "system shared memory removal": ("unregister_system_shared_memory", ()),
    "cuda shared memory": ("register_cuda_shared_memory", ("region", b"AAAA", 0, 4)),
    "cuda shared memory status": ("get_cuda_shared_memory_status", ()),
    "cuda shared memory removal": ("unregister_cuda_shared_memory", ()),
    "trace": ("update_trace_settings", ("tally", {"trace_rate": "7"})),
    "trace settings": ("get_trace_settings", ()),
    "logging": ("update_log_settings", ({"log_verbose_level": 0},)),
    "log settings": ("get_log_settings", ()),
}
HTTP_CALLS = {
    "load": ("POST", "repository/models/tally/load", {}),
    "unload": ("POST", "repository/models/absent/unload", {}),
    "index": ("POST", "repository/index", {}),
    "config": ("GET", "models/tally/config", None),
    "config of a version": ("GET", "models/tally/versions/1/config", None),
    "system shared memory": ("POST", "systemsharedmemory/region/region/register", REGION),
    "system shared memory status": ("GET", "systemsharedmemory/status", None),
    "system shared memory removal": ("POST", "systemsharedmemory/unregister", {}),
    "cuda shared memory": ("POST", "cudasharedmemory/region/region/register", CUDA_REGION),
    "cuda shared memory status": ("GET", "cudasharedmemory/status", None),
    "cuda shared memory removal": ("POST", "cudasharedmemory/unregister", {}),
    "trace": ("POST", "trace/setting", {"trace_rate": "7"}),
    "trace of a model": ("POST", "models/tally/trace/setting", {"trace_rate": "7"}),
    "trace settings": ("GET", "trace/setting", None),
    "logging": ("POST", "logging", {"log_verbose_level": 0}),
    "log settings": ("GET", "logging", None),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    write(folder, "tally", TALLY, tally())
    return folder


@pytest.fixture(scope="module")
def closed(repository):
    """A server that listens on the loopback without TLS, as by default."""
    with start(ServerOptions(repository, ready_model="tally")) as running:
        yield running


def over_grpc(server, call, key):
    """What the server says against a call, "" for nothing."""
    method, arguments = GRPC_CALLS[call]
    headers = None if key is None else {GRPC_HEADER: key}
    with grpc.InferenceServerClient(server.grpc_url) as client:
        try:
            getattr(client, method)(*arguments, headers=headers)
        except InferenceServerException as error:
            return error.message()
    return ""


def over_http(server, method, path, document=None, key=None):
    """Status and body."""
    request = urllib.request.Request(
        f"http://{server.http_url}/v2/{path}".rstrip("/"),
        data=None if document is None else json.dumps(document).encode(),
        headers={} if key is None else {ADMIN_HEADER: key},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("key", [None, "", "not-the-admin-key"])
@pytest.mark.parametrize("call", GRPC_CALLS)
def test_control_over_grpc_without_the_key_refused(closed, call, key):
    assert REFUSED in over_grpc(closed, call, key)


@pytest.mark.parametrize("key", [None, "", "not-the-admin-key"])
@pytest.mark.parametrize("call", HTTP_CALLS)
def test_control_over_http_without_the_key_refused(closed, call, key):
    status, body = over_http(closed, *HTTP_CALLS[call], key)
    assert status == 403
    assert "API is restricted" in body


def test_control_with_the_key_goes_through(closed):
    """Registering what is not there fails for that reason alone."""
    for call in GRPC_CALLS:
        said = over_grpc(closed, call, closed.admin_key)
        assert REFUSED not in said
        assert bool(said) is call.endswith("shared memory"), (call, said)
    for call in HTTP_CALLS:
        status, body = over_http(closed, *HTTP_CALLS[call], closed.admin_key)
        assert "restricted" not in body
        assert (status == 200) is not call.endswith("shared memory"), (call, body)


def test_the_key_is_nowhere_to_be_read(closed):
    key = closed.admin_key
    assert key not in closed.log_path.read_text()
    assert "admin-key=********" in Path(f"/proc/{closed.pid}/cmdline").read_text()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert key not in process.read_text(errors="replace")
        except OSError:  # ended meanwhile
            continue


def test_refusals_leave_the_server_as_it_was(closed):
    assert closed.control.ready("tally")
    assert closed.control.ready("tally", 1)
    assert not closed.control.ready("tally", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """PEM files: the authorities ours and theirs, the server's certificate, a client's from each."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with the openssl command, which is not here")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "theirs"):
        certificates.authority(folder, name)
        certificates.signed(folder, f"client-of-{name}", name)
    certificates.signed(folder, "server", "ours")
    return folder


@pytest.fixture(scope="module")
def mutual(repository, folder):
    """A server that asks for certificates of the authority `ours`."""
    tls = Tls(folder / "server.pem", folder / "server.key", folder / "ours.pem")
    with start(ServerOptions(repository, ready_model="tally", host="0.0.0.0", tls=tls)) as running:
        yield running


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("ours.key", "server.key"), "TLS cannot use .*ours.key with the key .*server.key: "),
        (("server.pem", "ours.key"), "TLS cannot use .*server.pem with the key .*: .*mismatch"),
        (("server.pem", "secret.key"), "TLS cannot use .*: the key is encrypted"),
        (("server.pem", "server.key", "server.key"), "TLS cannot use .*server.key: "),
    ],
)
def test_unusable_tls_files_refused_at_launch(repository, folder, files, reason):
    certificates.encrypted(folder, "server.key", "secret.key")
    with pytest.raises(LaunchError, match=reason):
        with start(ServerOptions(repository, ready_model="tally", tls=Tls(*(folder / name for name in files)))):
            pass


def asked(server, **files):
    """Whether the server calls itself live over gRPC to a client with these PEM files; without any, in the clear."""
    with grpc.InferenceServerClient(server.grpc_url, ssl=bool(files), **files) as client:
        return client.is_server_live(client_timeout=10)


def test_no_certificate_under_mutual_tls_nothing_answered(mutual, folder):
    ours = str(folder / "ours.pem")
    stranger = {
        "certificate_chain": str(folder / "client-of-theirs.pem"),
        "private_key": str(folder / "client-of-theirs.key"),
    }
    for files in ({}, {"root_certificates": ours}, {"root_certificates": ours, **stranger}):
        with pytest.raises(InferenceServerException) as error:
            asked(mutual, **files)
        assert error.value.status() == "StatusCode.UNAVAILABLE"
    friend = {
        "certificate_chain": str(folder / "client-of-ours.pem"),
        "private_key": str(folder / "client-of-ours.key"),
    }
    assert asked(mutual, root_certificates=ours, **friend)


def test_the_client_under_mutual_tls_says_what_is_missing(mutual, folder):
    ours, mine = folder / "ours.pem", folder / "client-of-ours"
    theirs = folder / "client-of-theirs"
    for credentials, hint in [
        (None, "--tls-ca"),
        (Credentials(root_certificates=ours), "--tls-cert"),
        (certified(ours, theirs), "--tls-cert"),
        (certified(folder / "theirs.pem", mine), "authorities"),
        (certified(folder / "server.key", mine), "PEM"),
    ]:
        with Client(mutual.grpc_url, credentials=credentials) as client:
            with pytest.raises(AccessDenied, match=hint):
                client.status()
    with Client(mutual.grpc_url, credentials=certified(ours, mine)) as client:
        assert client.status().server.startswith("triton")

    async def awaited():
        async with AsyncClient(mutual.grpc_url, credentials=certified(ours, mine)) as client:
            return await client.status()

    assert asyncio.run(awaited()).server.startswith("triton")


def test_the_command_under_mutual_tls_takes_files_from_options_and_environment(mutual, folder, capsys, monkeypatch):
    words = ["status", f"--url={mutual.grpc_url}", f"--tls-ca={folder / 'ours.pem'}"]
    assert main(words) == 6
    assert "--tls-cert" in capsys.readouterr().err
    monkeypatch.setenv("RECAST_TLS_CERT", str(folder / "client-of-ours.pem"))
    assert main(words) == 2
    assert "its key" in capsys.readouterr().err
    monkeypatch.setenv("RECAST_TLS_KEY", str(folder / "absent.key"))
    assert main(words) == 2
    assert "absent.key" in capsys.readouterr().err
    monkeypatch.setenv("RECAST_TLS_KEY", str(folder / "client-of-ours.key"))
    assert main(words) == 5  # it serves no `replace`
    assert "triton" in capsys.readouterr().out


def certified(authorities, client):
    return Credentials(
        root_certificates=authorities,
        certificate_chain=client.with_suffix(".pem"),
        private_key=client.with_suffix(".key"),
    )


def test_the_clients_transport_shows_the_admin_key_to_control_calls(closed):
    for key, allowed in [(None, False), ("not-the-admin-key", False), (closed.admin_key, True)]:
        transport = SyncTransport(address(closed.grpc_url), Credentials(admin_key=key))
        for call in ("load", "index", "config", "trace settings", "logging"):
            method, arguments = GRPC_CALLS[call]
            names = {"load": ["model_name"], "config": ["model_name"], "logging": ["settings"]}.get(call, [])
            asking = transport.call(method, **dict(zip(names, arguments, strict=True)))
            if allowed:
                finish(asking)
            else:
                with pytest.raises(InferenceServerException, match=REFUSED):
                    finish(asking)
        finish(transport.close())


def test_http_under_mutual_tls_stays_on_this_machine_and_closed(mutual):
    assert mutual.http_url.startswith("127.0.0.1:")
    assert mutual.metrics_url.startswith("127.0.0.1:")
    assert not mutual.warnings
    for method, path, document in [
        *HTTP_CALLS.values(),
        ("GET", "", None),
        ("GET", "models/tally", None),
        ("GET", "models/tally/stats", None),
        ("POST", "models/tally/infer", {"inputs": []}),
        ("POST", "models/tally/generate", {}),
    ]:
        status, _ = over_http(mutual, method, path, document)
        assert status == 403, path
    assert over_http(mutual, "GET", "models/tally/ready") == (200, "")
    assert mutual.control.ready("tally")
