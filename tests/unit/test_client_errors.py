"""Every status and message that a server can send becomes the right exception."""

import grpc
import pytest
import recast
from recast.errors import translate
from tritonclient.utils import InferenceServerException

NOBODY = "failed to connect to all addresses; last error:"
HANDSHAKE = "handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"


def translated(status: str, message: str) -> recast.RecastError:
    error = InferenceServerException(message, status=f"StatusCode.{status}")
    return translate(error, url="there:8001", timeout=3.0)


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("invalid_image", "INVALID_ARGUMENT", recast.InvalidImage),
        ("invalid_prompt", "INVALID_ARGUMENT", recast.InvalidPrompt),
        ("invalid_option", "INVALID_ARGUMENT", recast.InvalidOption),
        ("not_an_edit", "INVALID_ARGUMENT", recast.NotAnEdit),
        ("object_not_found", "NOT_FOUND", recast.ObjectNotFound),
        ("overloaded", "UNAVAILABLE", recast.Overloaded),
        ("cancelled", "CANCELLED", recast.Cancelled),
        ("restarting", "UNAVAILABLE", recast.Restarting),
        ("internal", "INTERNAL", recast.InternalError),
    ],
)
@pytest.mark.parametrize("prefix", ["", "in ensemble 'replace', ", "[request id: 7] in ensemble 'replace', "])
def test_named_error_becomes_its_class(name, status, kind, prefix):
    error = translated(status, f"{prefix}{name}: why: and what to do.")
    assert type(error) is kind
    assert error.name == name
    assert str(error) == error.sentence == "why: and what to do."


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("INVALID_ARGUMENT", "unexpected shape for input 'image'", recast.InvalidRequest),
        ("RESOURCE_EXHAUSTED", "Sent message larger than max", recast.InvalidRequest),
        ("UNAVAILABLE", "in ensemble 'replace', Exceeds maximum queue size", recast.Overloaded),
        ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", recast.Overloaded),
        ("UNAVAILABLE", "Request timeout expired", recast.Overloaded),
        ("UNAVAILABLE", "This protocol is restricted, expecting header 'x'", recast.AccessDenied),
        ("UNAUTHENTICATED", "no known API key", recast.AccessDenied),
        ("PERMISSION_DENIED", "this is closed from outside", recast.AccessDenied),
        (
            "UNAVAILABLE",
            f"{NOBODY} UNKNOWN: Tls {HANDSHAKE}CERTIFICATE_VERIFY_FAILED: self",
            recast.AccessDenied,
        ),
        ("UNAVAILABLE", f"{NOBODY} UNKNOWN: Tls {HANDSHAKE}WRONG_VERSION_NUMBER: Invalid", recast.AccessDenied),
        ("UNAVAILABLE", f"{NOBODY} UNKNOWN: Failed to create security handshaker.", recast.AccessDenied),
        ("UNAVAILABLE", f"{NOBODY} UNAVAILABLE: ipv4:127.0.0.1:8001: Socket closed", recast.AccessDenied),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: refused", recast.ServerUnavailable),
        ("UNAVAILABLE", "Request for unknown model: 'replace' is not found", recast.ServerUnavailable),
        ("NOT_FOUND", "Request for unknown model: 'replace' is not found", recast.ServerUnavailable),
        ("UNIMPLEMENTED", "", recast.ServerUnavailable),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", recast.DeadlineExceeded),
        ("CANCELLED", "Locally cancelled by application!", recast.Cancelled),
        ("INTERNAL", "in ensemble 'replace', Stub process 'parse_0_0' is not healthy.", recast.Restarting),
        ("UNAVAILABLE", "in ensemble 'replace', Server is stopping, scheduler for model", recast.Restarting),
        ("NOT_FOUND", "Request for unknown model: 'replace' has no available versions", recast.Restarting),
        ("UNAVAILABLE", "Stream removed (Socket closed)", recast.Restarting),
        ("UNAVAILABLE", "Received http2 header with status: 503", recast.Restarting),
        ("UNKNOWN", "", recast.InternalError),
    ],
)
def test_unnamed_error_is_classed_by_its_status(status, message, kind):
    error = translated(status, message)
    assert type(error) is kind
    assert str(error)


@pytest.mark.parametrize(
    ("absent", "kind"),
    [("prompt", recast.InvalidPrompt), ("image", recast.InvalidImage), ("target", recast.InvalidOption)],
)
def test_an_input_that_triton_misses_is_named(absent, kind):
    error = translated(
        "INVALID_ARGUMENT",
        "in ensemble 'replace', [request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'admit'. Got "
        f"input(s) [], but missing required input(s) ['{absent}']. Please provide all required input(s).",
    )
    assert type(error) is kind
    assert error.sentence == f"the input '{absent}' is missing."


def test_name_of_another_thing_is_not_ours():
    assert type(translated("INVALID_ARGUMENT", "input_ids: wrong dtype")) is recast.InvalidRequest


def test_error_without_status_is_internal():
    error = translate(InferenceServerException("broken"), url="there:8001", timeout=None)
    assert type(error) is recast.InternalError


@pytest.mark.parametrize(("late", "kind"), [(False, recast.Overloaded), (True, recast.DeadlineExceeded)])
def test_a_queue_gives_up_for_its_own_limit_or_for_the_callers(late, kind):
    expired = InferenceServerException("Request timeout expired", status="StatusCode.UNAVAILABLE")
    assert type(translate(expired, url="there:8001", timeout=3.0, late=late)) is kind


def test_a_server_that_has_answered_before_is_only_away():
    refused = InferenceServerException("failed to connect to all addresses", status="StatusCode.UNAVAILABLE")
    error = translate(refused, url="there:8001", timeout=None, answered_before=True)
    assert isinstance(error, recast.Restarting)
    assert not error.begun


@pytest.mark.parametrize(
    ("message", "begun"),
    [
        ("Stub process 'unet_0_0' is not healthy.", True),
        ("Connection reset by peer", True),
        ("Server is stopping, scheduler for model has stopped accepting new inference requests", False),
    ],
)
def test_a_lost_call_says_whether_it_was_begun(message, begun):
    assert translated("UNAVAILABLE", message).begun is begun


def test_sentences_name_what_to_do():
    assert "make serve" in str(translated("UNAVAILABLE", "failed to connect to all addresses"))
    assert "there:8001" in str(translated("UNAVAILABLE", "errors resolving there:8001"))
    assert "gRPC" in str(translated("UNAVAILABLE", "failed to connect: Trying to connect an http1.x server"))
    assert "3 s" in str(translated("DEADLINE_EXCEEDED", "Deadline Exceeded"))
    assert "RECAST_ADMIN_KEY" in str(translated("UNAVAILABLE", "This protocol is restricted"))
    assert "--tls-ca" in str(translated("UNAVAILABLE", f"{NOBODY} UNAVAILABLE: ipv4:127.0.0.1:8001: Socket closed"))


def test_every_error_has_one_base_and_its_own_name():
    kinds = [kind for kind in vars(recast).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, recast.RecastError) for kind in kinds)
    assert len({kind.name for kind in kinds}) == len(kinds) == 15
    assert all(issubclass(kind, recast.InvalidRequest) for kind in (recast.InvalidImage, recast.NotAnEdit))


def test_every_grpc_status_is_translated():
    for code in grpc.StatusCode:
        assert isinstance(translated(code.name, "something"), recast.RecastError)
