"""The arguments of the command `recast`: its parser, and those that plug-ins add."""

from __future__ import annotations

import argparse
import os
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any, NoReturn

from . import commands
from .client import DEFAULT_TIMEOUT, DEFAULT_URL
from .intents import INTENTS
from .output_files import UsageError

EXIT_CODES = """exit codes:
  0    done (status: the server is ready)
  1    the server failed, or cancelled the call; or its answer could not be written where it should be
  2    wrong usage, or an input that cannot be used: picture, sentence, option, path
  3    the sentence asks for no edit, or the object is not in the picture
  4    the server is overloaded, or the deadline passed
  5    no server there, or it is not ready
  6    a key or a certificate is missing or wrong
  130  stopped with Ctrl-C

environment: RECAST_URL, RECAST_TLS_CA, RECAST_TLS_CERT and RECAST_TLS_KEY stand for the options of these names;
RECAST_API_KEY is sent with every call, RECAST_ADMIN_KEY with those that control the server."""
LONGEST_TIMEOUT = 1_000_000
"""Seconds, eleven days: longer ones do not fit into every clock of a call."""

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


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing usage and leaving, so that --json holds for wrong usage too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` tells more)")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command; it raises UsageError. Plug-ins add their commands."""
    whole = _Parser(
        prog="recast",
        allow_abbrev=False,
        description="Replace an object in a picture with one sentence, on a Recast server.",
        epilog=EXIT_CODES,
        parents=[_common(with_defaults=True)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.set_defaults(errors=())
    whole.add_argument("--version", action="version", version=f"recast {_version()}")
    parsers = whole.add_subparsers(required=True, metavar="COMMAND")
    common = _common(with_defaults=False)

    def command(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        added = parsers.add_parser(name, help=summary, description=summary, parents=[common], allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    _edit_arguments(command("edit", commands.edit, "edit a picture as one sentence says"))
    parse = command("parse", commands.parse, "show what a sentence asks for, without a picture")
    parse.add_argument(
        "prompt", metavar="SENTENCE", type=_text, help='such as "swap the red car on the left for a boat"'
    )
    _mask_arguments(command("mask", commands.mask, "find an object in a picture, and write its mask"))
    command("status", commands.status, "show whether the server is ready, and which releases it serves")
    for plugin in entry_points(group=PLUGINS):  # `recast releases`, where the server's distribution is installed
        plugin.load()(parsers, common)
    return whole


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
    _picture_argument(parser)
    add("prompt", metavar="SENTENCE", type=_text, help='such as "Replace the car with a bicycle"')
    _out_arguments(parser, "the edited picture", "NAME-edited beside PICTURE, a JPEG for a JPEG")
    add("--seed", type=int, metavar="N", help="repeat the edit that had this seed (default: a new one)")
    add("--steps", type=int, metavar="N", help="denoising steps: more take longer (default: the server's)")
    add("--guidance", type=float, metavar="X", help="how closely to follow the words (default: the server's)")
    add(
        "--strength",
        type=float,
        metavar="X",
        help="above 0, up to 1: how far from the old thing the new one goes; below 1 its structure stays (default: 1, "
        'but less for a material, as in "make the chair wooden")',
    )
    add("--negative-prompt", type=_text, metavar="WORDS", help="what must not appear")
    add("--num-images", type=int, metavar="N", help="variants, written to OUT-1, OUT-2, … (default: 1)")
    add(
        "--max-attempts",
        type=int,
        metavar="N",
        help="paint again, from another seed, what the server sees went wrong, up to N times in all; 1 keeps the first "
        "(default: the server's)",
    )
    add(
        "--keep-metadata",
        action="store_true",
        help="copy EXIF (with the place it was taken) and XMP from PICTURE; without it the edited picture keeps the "
        "colour profile, gamma and dpi alone",
    )
    add("--bulk", action="store_true", help="nobody waits for this edit: a busy server refuses it first")
    add("--mask-out", metavar="PATH", help="write the mask too: 255 replaced, 0 untouched, between blended")
    add("--strip", metavar="PATH", help="write one picture of before, mask and after side by side")


def _mask_arguments(parser: argparse.ArgumentParser) -> None:
    _picture_argument(parser)
    parser.add_argument("target", metavar="OBJECT", type=_text, help='such as "red car on the left"')
    _out_arguments(parser, "the mask", "NAME-mask.png beside PICTURE")
    parser.add_argument(
        "--intent",
        choices=tuple(INTENTS),
        help="write the mask that such an edit would use (default: the object's outline)",
    )


def _picture_argument(parser: argparse.ArgumentParser) -> None:
    wanted = "a PNG, JPEG, WebP, AVIF, HEIC or TIFF file, never written to; - is standard input"
    parser.add_argument("picture", metavar="PICTURE", help=wanted)


def _out_arguments(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    told = f"{what}: .png, .webp or .jpg; - is standard output, and messages go to standard error (default: {default})"
    parser.add_argument("-o", "--out", help=told)
    replaced = "replace the default output if it exists; one that you name is replaced in any case"
    parser.add_argument("--force", action="store_true", help=replaced)


def _text(word: str) -> str:
    """What the user typed, in UTF-8 as it is usual, where the locale makes Python read it as something else."""
    try:
        return os.fsencode(word).decode()
    except UnicodeError:
        return word


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0 and up to {LONGEST_TIMEOUT}")
    return seconds


def _version() -> str:
    try:
        return version("recast-client")
    except PackageNotFoundError:  # run from a source tree
        return "(not installed)"
