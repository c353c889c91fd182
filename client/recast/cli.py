"""The command `recast`: edit, parse, mask, status, and releases for operators."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TextIO

from . import commands, standard_streams
from .arguments import parser
from .client import Client
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
from .output_files import NotSaved, UsageError
from .work_files import answers_on_stdout

# How the server and the client call what the command calls otherwise.
_OPTIONS = (
    (r"\bnum_inference_steps\b", "--steps"),
    (r"\bguidance_scale\b", "--guidance"),
    (r"^strength\b", "--strength"),
    (r"\bnum_images\b", "--num-images"),
    (r"\bmax_attempts\b", "--max-attempts"),
    (r"\bnegative_prompt\b|\bnegative prompt\b", "--negative-prompt"),
    (r"^seed\b", "--seed"),
    ("allow more time or ask for fewer steps", "allow more time (--timeout) or ask for fewer steps (--steps)"),
)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's own arguments by default); returns the exit code."""
    standard_streams.prepare()
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in words
    try:
        return _run(words, as_json)
    except SystemExit:  # --help and --version, which have printed
        standard_streams.flush(sys.stdout)
        raise
    except standard_streams.OutputFull as error:
        _print_error(error.name, str(error), 1, as_json, on_stderr=True)
        return 1
    except BrokenPipeError:  # of a plug-in that prints while it works
        standard_streams.silence(sys.stdout)
        return 141


def _run(words: Sequence[str], as_json: bool) -> int:
    expected: tuple[type[Exception], ...] = (UsageError, NotSaved, RecastError)
    on_stderr = False
    try:
        arguments = parser().parse_args(words)
        expected += arguments.errors
        on_stderr = answers_on_stdout(arguments)
        with Client(arguments.url, timeout=arguments.timeout, credentials=_credentials(arguments)) as client:
            outcome: commands.Outcome = arguments.run(arguments, client)
    except KeyboardInterrupt:
        _print_error("stopped", "stopped.", 130, as_json, on_stderr=on_stderr)
        return 130
    except expected as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        told = {"request_id": id} if (id := getattr(error, "request_id", "")) else {}
        told = getattr(error, "document", told)
        name = getattr(error, "name", "usage")
        _print_error(name, _in_options(error), code, as_json, told, on_stderr=on_stderr)
        return code
    _print_outcome(outcome, as_json, sys.stderr if on_stderr else sys.stdout)
    return outcome.exit_code


def _in_options(error: Exception) -> str:
    """The error's sentence, options called as the command calls them."""
    sentence = str(error)
    if isinstance(error, (InvalidRequest, DeadlineExceeded)):
        for pattern, option in _OPTIONS:
            sentence = re.sub(pattern, option, sentence)
    return sentence


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


def _print_outcome(outcome: commands.Outcome, as_json: bool, stream: TextIO) -> None:
    if as_json:
        standard_streams.say(json.dumps(outcome.document), stream)
        return
    if outcome.lines:
        standard_streams.say("\n".join(outcome.lines), stream)
    for note in outcome.notes:
        standard_streams.say(f"note: {note}", sys.stderr)


def _print_error(
    name: str,
    sentence: str,
    code: int,
    as_json: bool,
    told: Mapping[str, Any] = MappingProxyType({}),
    *,
    on_stderr: bool = False,
) -> None:
    """`told` is what the JSON document has beside; `on_stderr`: standard output is a picture's, or full."""
    if as_json:
        document = {"error": name, "message": sentence, "exit_code": code, **told}
        standard_streams.say(json.dumps(document), sys.stderr if on_stderr else sys.stdout)
        return
    request_id = told.get("request_id")
    logged_as = f" (request id {request_id})" if name == InternalError.name and request_id else ""
    standard_streams.say(f"recast: {sentence}{logged_as}", sys.stderr)
