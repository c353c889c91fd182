"""The front proxy: what it lets through, to whom, for whom. HAProxy is real; a replica is the real server, or a gRPC
server that holds its calls where the test must know which replica has how many."""

import hashlib
import shutil
from concurrent.futures import Future
from contextlib import ExitStack

import grpc
import pytest
from recast import Client
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.fleet import Proxy, free_ports, until
from tests.certificates import authority, signed
from tests.proxy import Holding, Names, needs_haproxy

pytestmark = needs_haproxy
CALL = service_pb2.ModelInferRequest(model_name="replace")
SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture
def replicas():
    """Two that hold their calls."""
    ports = free_ports(2)
    with Holding("127.0.0.1", *ports) as first, Holding("127.0.0.2", *ports) as second:
        yield first, second


@pytest.fixture
def front(replicas, tmp_path):
    """Starts the proxy before the two replicas, with variables of its configuration."""
    with ExitStack() as stack:

        def start(**variables: str) -> Proxy:
            urls = [replica.url for replica in replicas]
            return stack.enter_context(Proxy(*urls, http_port=replicas[0].http_port, **variables))

        yield start


@pytest.fixture
def keys(tmp_path):
    """A file that knows the key "correct horse" of the caller "alice" and "battery staple" of "bob"."""
    file = tmp_path / "keys"
    known = {"correct horse": "alice", "battery staple": "bob"}
    file.write_text("".join(f"{hashlib.sha256(key.encode()).hexdigest()} {name}\n" for key, name in known.items()))
    return str(file)


def connected(url: str, credentials: grpc.ChannelCredentials | None = None):
    """One connection of its own and the calls of Triton's service over it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.secure_channel(url, credentials, options) if credentials else grpc.insecure_channel(url, options)
    return channel, service_pb2_grpc.GRPCInferenceServiceStub(channel)


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


def held(stub, replicas, calls: int, **options) -> list[Future]:
    """Calls sent one after the other, each once the last is held by a replica."""
    futures = []
    for _ in range(calls):
        before = sum(replica.waiting for replica in replicas)
        futures.append(stub.ModelInfer.future(CALL, timeout=20, **options))
        until(lambda before=before: sum(replica.waiting for replica in replicas) == before + 1, 10, "the call arrives")
    return futures


def refused(call, *arguments, **options) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=10, **options)
    return error.value.code(), error.value.details()


def answered(stub) -> bool:
    """Whether a call is, and not lost with its replica."""
    try:
        stub.ModelInfer(CALL, timeout=10)
    except grpc.RpcError:
        return False
    return True


def test_the_real_server_answers_through_it_and_keeps_its_repository_closed(server, scenes):
    picture, kind = scenes[0]
    with (
        Proxy(server.grpc_url, http_port=int(server.http_url.rpartition(":")[2])) as proxy,
        Client(proxy.url, timeout=60) as client,
    ):
        assert client.status().ready
        assert client.replace(picture, f"Remove the {kind}", num_inference_steps=1).picture.size == picture.size
        admin = [("triton-grpc-protocol-admin-key", server.admin_key)]
        channel, stub = connected(proxy.url)
        with channel:
            for call, request in [
                (stub.RepositoryIndex, service_pb2.RepositoryIndexRequest()),
                (stub.RepositoryModelLoad, service_pb2.RepositoryModelLoadRequest(model_name="unet")),
                (stub.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest(model_name="unet")),
                (stub.ModelConfig, service_pb2.ModelConfigRequest(name="unet")),
                (stub.SystemSharedMemoryStatus, service_pb2.SystemSharedMemoryStatusRequest()),
                (stub.CudaSharedMemoryStatus, service_pb2.CudaSharedMemoryStatusRequest()),
                (stub.TraceSetting, service_pb2.TraceSettingRequest()),
                (stub.LogSettings, service_pb2.LogSettingsRequest()),
            ]:
                assert refused(call, request, metadata=admin)[0] is grpc.StatusCode.PERMISSION_DENIED
        assert client.status().ready


def test_each_call_of_one_connection_goes_to_the_replica_with_the_fewest_outstanding(front, replicas):
    first, second = replicas
    channel, stub = connected(front().url)
    with channel:
        calls = held(stub, replicas, 6)
        assert (first.waiting, second.waiting) == (3, 3)
        first.release()
        until(lambda: first.waiting == 0, 10, "the first answers")
        for _ in range(4):  # one at a time: the first has none outstanding, the second three
            stub.ModelInfer(CALL, timeout=10)
        assert second.waiting == 3
        second.release()
        assert [call.result().model_name for call in calls] == ["replace"] * 6


def test_a_replica_that_is_not_ready_gets_nothing_and_keeps_what_it_has(front, replicas):
    first, second = replicas
    proxy = front()
    channel, stub = connected(proxy.url)
    with channel:
        calls = held(stub, replicas, 2)
        first.ready = False
        proxy.wait(False, True)
        calls += held(stub, replicas, 3)
        assert (first.waiting, second.waiting) == (1, 4)
        second.ready = False
        proxy.wait(False, False)
        status, said = refused(stub.ModelInfer, CALL)
        assert status is grpc.StatusCode.UNAVAILABLE
        assert said.startswith("restarting: ")
        first.release(), second.release()
        assert len([call.result() for call in calls]) == 5
        first.ready = True
        proxy.wait(True, False)
        stub.ModelInfer(CALL, timeout=10)


def test_a_replica_that_cannot_be_reached_is_passed_over_within_the_call(front, replicas):
    first, second = replicas
    second.release()
    channel, stub = connected(front().url)
    with channel:
        first._server.stop(None).wait()  # its readiness still says yes
        for _ in range(6):
            assert stub.ModelInfer(CALL, timeout=10).model_name == "replace"


def test_a_call_that_its_caller_cancels_is_cancelled_on_the_replica(front, replicas):
    channel, stub = connected(front().url)
    with channel:
        calls = held(stub, replicas, 2)
        calls[0].cancel()
        until(lambda: sum(replica.cancelled for replica in replicas) == 1, 10, "the call is cancelled")
    until(lambda: sum(replica.cancelled for replica in replicas) == 2, 10, "those of a closed connection are")


def test_what_only_the_proxy_may_say_is_dropped(front, replicas):
    first, second = replicas
    first.release(), second.release()
    channel, stub = connected(front().url)
    with channel:
        mine = [("triton-grpc-protocol-admin-key", "x"), ("admin-key", "x"), ("recast-caller", "alice"), ("mine", "x")]
        stub.ModelInfer(CALL, timeout=10, metadata=mine)
    (seen,) = [replica.metadata for replica in replicas if replica.metadata]
    assert seen["mine"] == "x"
    assert not {name for name, _ in mine[:-1]} & set(seen)


def test_only_known_keys_pass_and_name_their_caller(front, replicas, keys):
    first, second = replicas
    first.release(), second.release()
    channel, stub = connected(front(api_keys=keys).url)
    with channel:
        digest = hashlib.sha256(b"correct horse").hexdigest()
        for metadata in ([], bearer("wrong"), bearer(""), bearer(digest), [("recast-caller", "alice")]):
            assert refused(stub.ModelInfer, CALL, metadata=metadata)[0] is grpc.StatusCode.UNAUTHENTICATED
        assert not first.metadata
        assert not second.metadata
        stub.ModelInfer(CALL, timeout=10, metadata=[*bearer("correct horse"), ("recast-caller", "bob")])
    (seen,) = [replica.metadata for replica in replicas if replica.metadata]
    assert seen["recast-caller"] == "alice"
    assert "authorization" not in seen


def test_a_caller_has_so_many_calls_in_flight_over_all_its_connections(front, replicas, keys):
    proxy = front(api_keys=keys, caller_limit="3")
    (one, first), (two, second) = connected(proxy.url), connected(proxy.url)
    with one, two:
        calls = held(first, replicas, 2, metadata=bearer("correct horse"))
        calls += held(second, replicas, 1, metadata=bearer("correct horse"))
        for stub in (first, second):
            status, said = refused(stub.ModelInfer, CALL, metadata=bearer("correct horse"))
            assert status is grpc.StatusCode.UNAVAILABLE
            assert said.startswith("overloaded: ")
        calls += held(second, replicas, 1, metadata=bearer("battery staple"))  # another caller
        for replica in replicas:
            replica.release()
        assert len([call.result() for call in calls]) == 4
        for _ in range(5):  # what has ended counts no more
            first.ModelInfer(CALL, timeout=10, metadata=bearer("correct horse"))


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual-tls"])
def test_callers_speak_tls_where_there_is_a_certificate(front, replicas, tmp_path, mutual):
    for replica in replicas:
        replica.release()
    trusted = authority(tmp_path, "ca")
    signed(tmp_path, "server", "ca")
    mine, my_key = (file.read_bytes() for file in signed(tmp_path, "client", "ca"))
    shutil.copy(tmp_path / "server.pem", tmp_path / "tls.crt")
    shutil.copy(tmp_path / "server.key", tmp_path / "tls.key")
    url = front(certificate=str(tmp_path / "tls.crt"), **({"client_ca": str(trusted)} if mutual else {})).url
    for credentials, answered in [
        (None, False),
        (grpc.ssl_channel_credentials(trusted.read_bytes()), not mutual),
        (grpc.ssl_channel_credentials(trusted.read_bytes(), my_key, mine), True),
    ]:
        channel, stub = connected(url, credentials)
        with channel:
            if answered:
                assert stub.ModelInfer(CALL, timeout=10).model_name == "replace"
            else:
                assert refused(stub.ModelInfer, CALL)[0] is grpc.StatusCode.UNAVAILABLE


def test_replicas_come_and_go_with_the_addresses_of_a_name(replicas):
    """As pods do in Kubernetes."""
    first, second = replicas
    first.release(), second.release()
    port = first.url.partition(":")[2]
    with (
        Names("127.0.0.1") as names,
        Proxy(first.url, http_port=first.http_port, replicas=f"recast:{port}", dns=names.url) as proxy,
    ):
        channel, stub = connected(proxy.url)
        with channel:
            stub.ModelInfer(CALL, timeout=10)
            assert not second.metadata
            names.addresses.append("127.0.0.2")

            def second_is_asked() -> bool:
                stub.ModelInfer(CALL, timeout=10)
                return bool(second.metadata)

            until(second_is_asked, 30, "the new address is found")
            until(lambda: proxy.passed() == [True, True], 10, "both pass their checks")
            names.addresses.remove("127.0.0.1")
            first._server.stop(None).wait()
            until(lambda: answered(stub), 10, "a call that does not meet the connection as it closes")
            for _ in range(6):
                stub.ModelInfer(CALL, timeout=10)
