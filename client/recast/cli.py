"""The command `recast`: edit, parse, mask, status, and releases for operators."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any, NoReturn

from . import commands
from .client import DEFAULT_TIMEOUT, DEFAULT_URL, Client
from .credentials import Credentials
from .errors import (
    AccessDenied,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotAnEdit,
    ObjectNotFound,
    Overloaded,
    RecastError,
    ServerUnavailable,
)
from .intents import INTENTS
from .output_files import UsageError

EXIT_CODES = """exit codes:
  0    done (status: the server is ready)
  1    the server failed, or cancelled the call
  2    wrong usage, or an input that cannot be used: picture, sentence, option, path
  3    the sentence asks for no edit, or the object is not in the picture
  4    the server is overloaded, or the deadline passed
  5    no server there, or it is not ready
  6    a key or a certificate is missing or wrong
  130  stopped with Ctrl-C

environment: RECAST_URL, RECAST_TLS_CA, RECAST_TLS_CERT and RECAST_TLS_KEY stand for the options of these names;
RECAST_API_KEY is sent with every call, RECAST_ADMIN_KEY with those that control the server."""
# The first class that fits decides.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (NotAnEdit, 3),
    (ObjectNotFound, 3),
    (UsageError, 2),
    (InvalidRequest, 2),
    (Overloaded, 4),
    (DeadlineExceeded, 4),
    (ServerUnavailable, commands.NOT_READY),
    (AccessDenied, 6),
    (Exception, 1),
)

PLUGINS = "recast.commands"
"""The entry points of distributions that bring commands of their own: functions (subparsers, common parser).

Each parser that they add has as defaults `run`, a function (arguments, client) whose result has the attributes of
commands.Outcome, and `errors`, the classes of what it raises: each with a `name`, and one sentence as its text.
"""

_TLS_FILES = {
    "ca": "speak TLS: PEM file of the authorities that sign the server's certificate",
    "cert": "PEM file of your own certificate, for a server that asks for one",
    "key": "PEM file of that certificate's private key",
}

_PICTURE = "a PNG, JPEG, WebP, AVIF, HEIC or TIFF file; never written to"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's own arguments by default); returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in words
    expected: tuple[type[Exception], ...] = (UsageError, RecastError)
    try:
        arguments = _parser().parse_args(words)
        expected += arguments.errors
        with Client(arguments.url, timeout=arguments.timeout, credentials=_credentials(arguments)) as client:
            outcome: commands.Outcome = arguments.run(arguments, client)
        _print_outcome(outcome, as_json)
        return outcome.exit_code
    except KeyboardInterrupt:
        _print_error("stopped", "stopped.", 130, as_json)
        return 130
    except expected as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        _print_error(getattr(error, "name", "usage"), str(error), code, as_json, getattr(error, "request_id", ""))
        return code


def _credentials(arguments: argparse.Namespace) -> Credentials:
    """Keys come by environment alone: other users can read a command line."""
    try:
        return Credentials(
            admin_key=os.environ.get("RECAST_ADMIN_KEY"),
            api_key=os.environ.get("RECAST_API_KEY"),
            root_certificates=arguments.tls_ca,
            certificate_chain=arguments.tls_cert,
            private_key=arguments.tls_key,
        )
    except ValueError as error:
        raise UsageError(f"{error} (--tls-ca, --tls-cert, --tls-key)") from error
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}.") from error


def _print_outcome(outcome: commands.Outcome, as_json: bool) -> None:
    if as_json:
        _print_json(outcome.document)
        return
    if outcome.lines:
        print("\n".join(outcome.lines))
    for note in outcome.notes:
        print(f"note: {note}", file=sys.stderr)


def _print_error(name: str, sentence: str, code: int, as_json: bool, request_id: str = "") -> None:
    if as_json:
        of_call = {"request_id": request_id} if request_id else {}
        _print_json({"error": name, "message": sentence, "exit_code": code, **of_call})
        return
    logged_as = f" (request id {request_id})" if name == InternalError.name and request_id else ""
    print(f"recast: {sentence}{logged_as}", file=sys.stderr)


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document))


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing usage and leaving, so that --json holds for wrong usage too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` tells more)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recast",
        allow_abbrev=False,
        description="Replace an object in a picture with one sentence, on a Recast server.",
        epilog=EXIT_CODES,
        parents=[_common(with_defaults=True)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(errors=())
    parser.add_argument("--version", action="version", version=f"recast {_version()}")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _common(with_defaults=False)

    def command(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        added = parsers.add_parser(name, help=summary, description=summary, parents=[common], allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    _edit_arguments(command("edit", commands.edit, "edit a picture as one sentence says"))
    parse = command("parse", commands.parse, "show what a sentence asks for, without a picture")
    parse.add_argument("prompt", metavar="SENTENCE", help='such as "swap the red car on the left for a boat"')
    _mask_arguments(command("mask", commands.mask, "find an object in a picture, and write its mask"))
    command("status", commands.status, "show whether the server is ready, and which releases it serves")
    for plugin in entry_points(group=PLUGINS):  # `recast releases`, where the server's distribution is installed
        plugin.load()(parsers, common)
    return parser


def _common(*, with_defaults: bool) -> _Parser:
    """The options of every command. Those of a command have no defaults, so that what stands before it holds."""

    def default(value: Any) -> Any:
        return value if with_defaults else argparse.SUPPRESS

    common = _Parser(add_help=False)
    add = common.add_argument_group("options of every command").add_argument  # listed after the command's own
    url = os.environ.get("RECAST_URL") or DEFAULT_URL
    shown = url.replace("%", "%%")
    add("--url", default=default(url), help=f"host:port of the server's gRPC port (RECAST_URL; now {shown})")
    wait = f"give up after S seconds, retries included (default: {DEFAULT_TIMEOUT:g})"
    add("--timeout", type=_seconds, default=default(DEFAULT_TIMEOUT), metavar="S", help=wait)
    for name, meaning in _TLS_FILES.items():
        variable = f"RECAST_TLS_{name.upper()}"
        file = default(os.environ.get(variable) or None)
        add(f"--tls-{name}", default=file, metavar="FILE", help=f"{meaning} ({variable})")
    add("--json", action="store_true", default=default(False), help="print one JSON document, for errors too")
    return common


def _edit_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("picture", metavar="PICTURE", help=_PICTURE)
    add("prompt", metavar="SENTENCE", help='such as "Replace the car with a bicycle"')
    add("-o", "--out", help="the edited picture: .png, .webp or .jpg (default: NAME-edited.png beside PICTURE)")
    add("--seed", type=int, metavar="N", help="repeat the edit that had this seed (default: a new one)")
    add("--steps", type=int, metavar="N", help="denoising steps: more take longer (default: the server's)")
    add("--guidance", type=float, metavar="X", help="how closely to follow the words (default: the server's)")
    add("--negative-prompt", metavar="WORDS", help="what must not appear")
    add("--num-images", type=int, metavar="N", help="variants, written to OUT-1, OUT-2, … (default: 1)")
    add("--bulk", action="store_true", help="nobody waits for this edit: a busy server refuses it first")
    add(
        "--keep-metadata",
        action="store_true",
        help="copy EXIF (with the place it was taken) and XMP from PICTURE; without it the edited picture keeps the "
        "colour profile, gamma and dpi alone",
    )
    add("--mask-out", metavar="PATH", help="write the mask too: 255 replaced, 0 untouched, between blended")
    add("--strip", metavar="PATH", help="write one picture of before, mask and after side by side")


def _mask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "picture", metavar="PICTURE", help="a PNG, JPEG, WebP, AVIF, HEIC or TIFF file; never written to"
    )
    parser.add_argument("target", metavar="OBJECT", help='such as "red car on the left"')
    parser.add_argument("-o", "--out", help="the mask: .png, .webp or .jpg (default: NAME-mask.png beside PICTURE)")
    parser.add_argument(
        "--intent",
        choices=tuple(INTENTS),
        help="write the mask that such an edit would use (default: the object's outline)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return seconds


def _version() -> str:
    try:
        return version("recast-client")
    except PackageNotFoundError:  # run from a source tree
        return "(not installed)"
