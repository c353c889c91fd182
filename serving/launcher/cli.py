"""`python -m serving`: serve the model repository until Ctrl-C or SIGTERM.

What dies or hangs meanwhile is started again. Exit status: 0 after a stop that was asked for, 1 when the server could
not start or does not stay.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from serving.environment import ADMIN_KEY
from serving.launcher.preflight import LaunchError
from serving.launcher.security import LOOPBACK, Tls, key_file
from serving.launcher.server import start
from serving.launcher.server_options import EXIT_TIMEOUT, ServerOptions
from serving.launcher.supervisor import HUNG_AFTER, Supervisor
from serving.launcher.telemetry import Traces
from serving.launcher.tritonserver import quickest_config
from serving.topology import REPLACE

AUTO = "auto"


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a KeyboardInterrupt
    try:
        serve(configured(options))
    except KeyboardInterrupt:
        print("recast: stopped", flush=True)
    except LaunchError as error:
        print(f"recast: {error}", file=sys.stderr)
        return 1
    return 0


def configured(options: argparse.Namespace) -> ServerOptions:
    """What the command line says; LaunchError for what cannot be."""
    return ServerOptions(
        options.model_repository,
        grpc_port=options.grpc_port,
        http_port=options.http_port,
        metrics_port=options.metrics_port,
        host=options.host,
        tls=tls_named(options),
        traces=Traces(options.trace_url, options.trace_rate) if options.trace_url else None,
        config=config_named(options.config, options.model_repository),
        ready_model=options.ready_model,
        exit_timeout=options.exit_timeout,
        hung_after=options.hung_after,
        echo=sys.stderr,
    )


def serve(options: ServerOptions) -> None:
    """Start a server and keep it alive until an exception, LaunchError when it does not stay."""
    began = time.monotonic()
    with start(options) as server, key_file(server.admin_key) as key:
        for warning in server.warnings:
            print(f"recast: warning: {warning}", file=sys.stderr)
        print(
            f"recast: ready after {time.monotonic() - began:.1f} s: '{options.ready_model}' on "
            f"gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url}, "
            f"admin key in {key or ADMIN_KEY} (Ctrl-C stops)",
            flush=True,
        )
        Supervisor(server).run()


def config_named(name: str, repository: Path) -> str | None:
    """The launcher's `config` of that name; auto is the quickest of those that models of `repository` have."""
    if name != AUTO:
        return None if name == "cpu" else name
    quickest = quickest_config()
    return quickest if quickest and any(repository.glob(f"*/configs/{quickest}.pbtxt")) else None


def tls_named(options: argparse.Namespace) -> Tls | None:
    """The TLS that the command line asks for; LaunchError for half of it."""
    certificate, key, client_ca = options.tls_certificate, options.tls_key, options.tls_client_ca
    if certificate and key:
        return Tls(certificate, key, client_ca)
    if certificate or key or client_ca:
        raise LaunchError("TLS needs both --tls-certificate and --tls-key; --tls-client-ca goes with them.")
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve models with Triton.")
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=Path("model_repository"),
        metavar="FOLDER",
        help="what to serve (default: %(default)s)",
    )
    _add_access(parser)
    _add_traces(parser)
    _add_running(parser)
    return parser.parse_args()


def _add_access(parser: argparse.ArgumentParser) -> None:
    """Where the server listens, and to whom."""
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 opens it to the network (default: %(default)s)",
    )
    for protocol, port in {"grpc": 8001, "http": 8000, "metrics": 8002}.items():
        parser.add_argument(
            f"--{protocol}-port",
            type=int,
            default=port,
            metavar="PORT",
            help="0 for a free one (default: %(default)s)",
        )
    parser.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="serve gRPC under TLS with this chain (PEM)"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's private key (PEM)")
    parser.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="answer only clients with a certificate of these CAs (PEM)"
    )


def _add_traces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trace-url", metavar="URL", help="send OpenTelemetry traces there: http://HOST:4318/v1/traces (OTLP/HTTP)"
    )
    parser.add_argument(
        "--trace-rate",
        type=int,
        default=1,
        metavar="N",
        help="trace one request in N, and each whose caller sends a traceparent (default: %(default)s)",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    """How the models run, and for how long one waits for them."""
    parser.add_argument(
        "--config",
        metavar="NAME",
        default=AUTO,
        help="how the networks run: cuda (GPU), openvino (bf16), cpu (fp32), or auto: openvino on processors that "
        "compute in bf16, else cpu (default: %(default)s)",
    )
    parser.add_argument(
        "--ready-model",
        default=REPLACE,
        metavar="NAME",
        help="model whose readiness is the server's (default: %(default)s)",
    )
    parser.add_argument(
        "--exit-timeout",
        type=float,
        default=EXIT_TIMEOUT,
        metavar="SECONDS",
        help="what edits in flight get to finish after Ctrl-C or SIGTERM (default: %(default)g)",
    )
    parser.add_argument(
        "--hung-after",
        type=float,
        default=HUNG_AFTER,
        metavar="SECONDS",
        help="a process that makes no progress for so long is ended and another started; more than the slowest "
        "network takes for a full batch (default: %(default)g)",
    )
