"""An inference says where it belongs in a trace."""

from recast import tracing

from tests.unit.client_answers import PARSE, edit


def test_an_inference_carries_the_trace_context_of_the_environment(scripted_server, connect, monkeypatch):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y")
        monkeypatch.setenv("TRACEPARENT", "00-aa-bb-01")
        client.replace(b"x", "y")
        list(client.replace_stream(b"x", "y"))
    assert [headers.get("traceparent") for headers in scripted_server.headers] == [None, "00-aa-bb-01", "00-aa-bb-01"]


def test_an_opentelemetry_span_goes_before_the_environment(scripted_server, connect, monkeypatch):
    class Propagate:
        @staticmethod
        def inject(carrier):
            carrier.update(traceparent="00-cc-dd-01", tracestate="a=b", baggage="user=secret")

    monkeypatch.setenv("TRACEPARENT", "00-aa-bb-01")
    monkeypatch.setattr(tracing, "propagate", Propagate)
    scripted_server.script = [PARSE]
    with connect(scripted_server.grpc_url) as client:
        client.parse("y")
    headers = scripted_server.headers[0]
    assert (headers["traceparent"], headers["tracestate"]) == ("00-cc-dd-01", "a=b")
    assert "baggage" not in headers
