"""`python -m export`: checkpoints in Hugging Face layout -> releases of the model repository."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.checkpoint import PIPELINE, overridden, settings
from export.errors import ExportError
from export.presets import PRESETS, Hub, Preset, covering, table
from export.release import exclusive
from export.steps import Order, Source, export
from serving.releases.repository import Release
from serving.topology import STEPS, released_with


def main(words: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(words)
    try:
        if options.list:
            print(table())
        elif not options.preset:
            raise ExportError("name what to export with --preset; --list shows the presets")
        else:
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
    parser.add_argument("--list", action="store_true", help="show the presets and end")
    parser.add_argument("--preset", choices=PRESETS, nargs="+", metavar="NAME",
                        help="which checkpoints, and their settings: one or more names of --list")  # fmt: skip
    parser.add_argument("--release", type=number, metavar="N",
                        help="version number to write; an existing release is never replaced (default: 1, which the"
                             " demo preset makes again whenever its own weights or the exporter changed)")  # fmt: skip
    parser.add_argument("--only", choices=STEPS, help="export this step alone")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), metavar="DIR",
                        help="model repository to write into (default: %(default)s)")  # fmt: skip
    parser.add_argument("--checkpoint", metavar="DIR|ID|FILE",
                        help="checkpoints to take in place of the preset's: a folder with parse/, mask/ and inpaint/,"
                             " or for a single step its own folder or its id on the Hugging Face hub; for inpaint also"
                             " a whole pipeline in one .safetensors file")  # fmt: skip
    parser.add_argument("--revision", metavar="REV", help="commit, tag or branch on the hub (default: the preset's,"
                                                          " main for another --checkpoint)")  # fmt: skip
    parser.add_argument("--precision", choices=["fp32", "fp16"],
                        help="of the networks; fp16 is for GPUs (default: the preset's)")  # fmt: skip
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=JSON",
                        help="a setting of the step, such as num_inference_steps=30 or"
                             " 'scheduler={\"_class_name\": \"UniPCMultistepScheduler\"}'")  # fmt: skip
    return parser


def number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=JSON, as in guidance_scale=5") from None


def run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    try:
        presets = covering(PRESETS[name] for name in options.preset)
    except ValueError as error:
        raise ExportError(str(error)) from None
    chosen = [step for step in STEPS if step in presets and options.only in (None, step)]
    if not chosen:
        raise ExportError(f"{' and '.join(options.preset)} has nothing for the step {options.only}")
    if options.set and len(chosen) > 1:
        raise ExportError("--set is for one step: name it with --only")
    releases = [Release(options.repository, step, options.release or 1) for step in chosen]
    own = options.release is None and options.checkpoint is None and not options.set and options.precision is None
    with tempfile.TemporaryDirectory(prefix="recast-export-") as scratch:
        orders = {step: order(options, presets[step], step, Path(scratch)) for step in chosen}
        with exclusive(options.repository, [model for step in chosen for model in released_with(step)]):
            for release in releases:
                may_replace = own and presets[release.step].rolling
                export(release, orders[release.step], lambda line: print(line, flush=True), may_replace=may_replace)
    print(f"done in {time.monotonic() - started:.0f} s", flush=True)


def order(options: argparse.Namespace, preset: Preset, step: str, scratch: Path) -> Order:
    """What the command line asks for, for one step; what is on the hub alone is downloaded.

    A checkpoint in one file is laid out below `scratch`, which has to stay until the export is done.
    """
    if options.checkpoint is not None and Path(options.checkpoint).is_file():
        checkpoint, source = laid_out(Path(options.checkpoint), preset, step, scratch), Source("a single file")
    else:
        checkpoint, source = locate(options, preset, step)
    chosen = settings(checkpoint, preset.settings[step])
    return Order(checkpoint, source, overridden(chosen, dict(options.set), "--set"),
                 options.precision or preset.precision)  # fmt: skip


def locate(options: argparse.Namespace, preset: Preset, step: str) -> tuple[Path, Source]:
    """The checkpoint folder of `step`, and where it came from."""
    given, own = options.checkpoint, preset.checkpoints[step]
    if given is None and isinstance(own, Path):
        return own, Source("the demo weights")
    from export import hub  # and huggingface_hub, which the demo needs not wait for

    if given is not None and (Path(given).is_dir() or not hub.REPOSITORY.fullmatch(given)):
        folder = Path(given)
        return (folder / step if (folder / step).is_dir() else folder), Source("a folder")
    asked = own if given is None else Hub(given, options.revision or "main", "")
    assert isinstance(asked, Hub)
    folder = hub.fetch(asked.id, options.revision or asked.revision)
    return folder, Source(asked.id, folder.name)


def laid_out(file: Path, preset: Preset, step: str, scratch: Path) -> Path:
    """A folder below `scratch` with the pipeline in `file`, configured as the folder it lies in, else as the preset."""
    if step != "inpaint":
        raise ExportError(f"{file} is one file, and {step} takes a folder: give the one that holds its config.json")
    from export import hub, single_file  # and torch, which "up to date" need not wait for

    single_file.refuse_unfit(file)
    own = preset.checkpoints[step]
    if (file.parent / PIPELINE).exists():
        layout = file.parent
    else:
        layout = own if isinstance(own, Path) else hub.fetch_layout(own.id, own.revision, file)
    return single_file.convert(file, layout, scratch / step)


if __name__ == "__main__":
    sys.exit(main())
