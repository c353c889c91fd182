"""The weights of one network in a checkpoint: which files they are, whether those are whole, and loading them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from export.checkpoint import PIPELINE, READ, one_line, read_json
from export.errors import ExportError

VARIANTS = ("fp16", "bf16", "non_ema")
"""Further copies of the same weights, in the order in which they stand in for weights that a folder lacks."""
NAME = re.compile(
    r"(?P<stem>[^.]+?)(\.(?P<variant>fp16|bf16|non_ema))?(?P<shard>-\d+-of-\d+)?"
    r"(\.(?P<older>fp16|bf16|non_ema))?\.safetensors"  # diffusers before 0.33 named the variant after the shard
)
PICKLED = ("*.bin", "*.ckpt", "*.pt", "*.pth")
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
"""How the files of a network's weights begin, by the library that wrote them."""


@dataclass(frozen=True)
class Weights:
    """Files of one network: one, or several shards and their index; `variant` as from_pretrained calls it."""

    files: tuple[Path, ...]
    index: Path | None
    variant: str | None


def find(folder: Path, stem: str) -> Weights:
    """The weights in `folder` whose names begin with `stem`, all there and whole. Raises ExportError."""
    for variant in (None, *VARIANTS):
        single = folder / (f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors")
        if single.exists():
            shapes(single)
            return Weights((single,), None, variant)
        for index in _indices(folder, stem, variant):
            if index.exists():
                return Weights(_shards(index), index, variant)
    if any(file for pattern in PICKLED for file in folder.glob(pattern)):
        raise ExportError(
            f"{folder} has only pickled weights (.bin): convert them to safetensors (save_pretrained writes them),"
            " on a machine that may run what is in them"
        )
    raise ExportError(
        f"{folder} is no checkpoint for this step: it has no {stem}.safetensors, no index of shards and no fp16 variant"
    )


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, from its header. Raises ExportError for a file cut short."""
    try:
        with safe_open(file, "pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except (SafetensorError, OSError) as error:
        if _is_pointer(file):
            raise ExportError(f"{file} is a Git LFS pointer, not the weights: run git lfs pull there") from error
        raise ExportError(f"{file} is damaged or cut short ({one_line(error)}): fetch it again") from error


def unread(names: Iterable[str]) -> set[str]:
    """Those of a checkpoint's files, relative to its folder, that hold weights which no export reads.

    Variants of weights that are there by themselves, and whole pipelines in one file beside the same in folders.
    """
    paths = [PurePosixPath(name) for name in names]
    variants: dict[tuple[PurePosixPath, str], dict[str, set[str]]] = {}
    for path in paths:
        if match := NAME.fullmatch(path.name):
            variant = match["variant"] or match["older"] or ""
            variants.setdefault((path.parent, match["stem"]), {}).setdefault(variant, set()).add(str(path))
    left: set[str] = set()
    for copies in variants.values():
        chosen = next(variant for variant in ("", *VARIANTS) if variant in copies)
        left |= {name for variant, found in copies.items() if variant != chosen for name in found}
    if PurePosixPath(PIPELINE) in paths:
        left |= {str(path) for path in paths if path.suffix == ".safetensors" and len(path.parts) == 1}
    return left


def readable(folder: Path) -> list[Path]:
    """The files of the checkpoint in `folder` that an export reads."""
    found = {file for pattern in READ for file in folder.rglob(pattern) if file.is_file()}
    left = unread(file.relative_to(folder).as_posix() for file in found)
    return [file for file in found if file.relative_to(folder).as_posix() not in left]


def plain_name(name: str) -> str:
    """The name that the file `name` would have without its variant."""
    match = NAME.fullmatch(name)
    return name if match is None else f"{match['stem']}{match['shard'] or ''}.safetensors"


def load(kind: Any, folder: Path, stem: str, **options: Any) -> Any:
    """The model of class `kind` in `folder` with all of its weights; `options` are from_pretrained's.

    Raises ExportError; the libraries themselves would fill what is missing with random numbers and go on.
    """
    found = find(folder, stem)
    read_json(folder / "config.json")
    try:
        model, report = kind.from_pretrained(
            folder, variant=found.variant, use_safetensors=True, local_files_only=True, output_loading_info=True,
            **options,
        )  # fmt: skip
    except MemoryError:
        raise
    except Exception as error:  # the libraries' errors have no class in common
        raise ExportError(
            f"{folder} cannot be loaded as {kind.__name__}, because its config.json and its weights do not fit each"
            f" other ({one_line(error)}): fetch the folder again"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ExportError(
            f"{(found.index or found.files[0])} lacks {len(missing)} of the weights of {kind.__name__}, such as"
            f" {missing[0]}: fetch it again"
        )
    return model


def _indices(folder: Path, stem: str, variant: str | None) -> list[Path]:
    if variant is None:
        return [folder / f"{stem}.safetensors.index.json"]
    names = (f"{stem}.safetensors.index.{variant}.json", f"{stem}.safetensors.{variant}.index.json")
    return [folder / name for name in names]


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that `index` names, which are there and have the tensors that it says. Raises ExportError."""
    where = read_json(index)["weight_map"]
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        raise ExportError(f"{index} is damaged, its weight_map is no table of files: fetch it again")
    held: dict[str, dict[str, tuple[int, ...]]] = {}
    for name in sorted(set(where.values())):
        if Path(name).name != name:
            raise ExportError(f"{index} names {name}, which is not in its own folder: fetch it again")
        if not (index.parent / name).exists():
            raise ExportError(f"{index.parent / name} is missing, which {index.name} names: fetch it, too")
        held[name] = shapes(index.parent / name)
    for tensor, name in where.items():
        if tensor not in held[name]:
            raise ExportError(
                f"{index.parent / name} lacks {tensor}, which {index.name} says is there: fetch both again"
            )
    return tuple(index.parent / name for name in held)


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(24).startswith(b"version https://git-lfs")
    except OSError:
        return False
