"""`python -m export`: checkpoints in Hugging Face layout -> releases of the model repository."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError
from export.presets import PRESETS
from export.release import STEPS, Release, exclusive
from export.steps import export


def main(words: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(words)
    try:
        run(options)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("export: interrupted; nothing half-made was left behind", file=sys.stderr)
        return 130
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, required=True, help="which checkpoints, and their settings")
    parser.add_argument("--release", type=number, metavar="N",
                        help="version number to write; an existing release is never replaced (default: 1, which the"
                             " demo preset makes again whenever its own weights or the exporter changed)")  # fmt: skip
    parser.add_argument("--only", choices=STEPS, help="export this step alone")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), metavar="DIR",
                        help="model repository to write into (default: %(default)s)")  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, metavar="DIR",
                        help="checkpoints to take in place of the preset's: a folder with parse/, mask/ and inpaint/,"
                             " or with --only that step's own")  # fmt: skip
    return parser


def number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run(options: argparse.Namespace) -> None:
    preset, started = PRESETS[options.preset], time.monotonic()
    chosen = [options.only] if options.only else STEPS
    releases = [Release(options.repository, step, options.release or 1) for step in chosen]
    may_replace = preset.rolling and options.release is None and options.checkpoint is None
    with exclusive(options.repository, [model for release in releases for model in release.models]):
        for release in releases:
            checkpoint = locate(options.checkpoint, release.step) or preset.checkpoints[release.step]
            export(release, preset, checkpoint, lambda line: print(line, flush=True), may_replace=may_replace)
    print(f"done in {time.monotonic() - started:.0f} s", flush=True)


def locate(root: Path | None, step: str) -> Path | None:
    """The checkpoint of `step` in `root`, which may be that checkpoint itself."""
    return root / step if root and (root / step).is_dir() else root


if __name__ == "__main__":
    sys.exit(main())
