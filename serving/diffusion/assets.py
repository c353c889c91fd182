"""What a release of inpaint holds beside its networks: inpaint.json, the scheduler's config and the tokenizers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from serving.diffusion.denoise import Plan
from serving.diffusion.samplers import make_plan


@dataclass(frozen=True)
class TokenizerSettings:
    """A tokenizer of the release: its file, a name in the release's folder, and its special tokens."""

    file: str
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def __post_init__(self) -> None:
        _check_types(self)


@dataclass(frozen=True)
class InpaintSettings:
    """The content of inpaint.json, which the export writes and the step reads. ValueError for a value of a wrong type.

    `size`: the pixels a side of the model's pictures. `vae_factor`: those of a latent, diffusers' `vae_scale_factor`.
    `scaling_factor`: what the VAE's latents are multiplied with, to have a variance of about 1.
    `context_length`: the text encoder's tokens. `sampler`: a key of `serving.diffusion.samplers.SAMPLERS`.
    `num_inference_steps` and `guidance_scale`: those of requests that choose none.
    """

    scaling_factor: float
    size: int
    vae_factor: int
    latent_channels: int
    context_length: int
    tokenizers: tuple[TokenizerSettings, ...]
    sampler: str
    num_inference_steps: int
    guidance_scale: float

    def __post_init__(self) -> None:
        _check_types(self)

    @classmethod
    def read(cls, file: Path) -> "InpaintSettings":
        """The settings in `file`. Raises OSError, or a ValueError that names the file and what is wrong with it."""
        try:
            values = _known(cls, json.loads(file.read_text(encoding="utf-8")))
            if isinstance(values["tokenizers"], list):
                entries = [_known(TokenizerSettings, entry) for entry in values["tokenizers"]]
                values["tokenizers"] = tuple(TokenizerSettings(**entry) for entry in entries)
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{file.name} is not of this Recast's export: {error}; export the release again") from None


def _known(kind: type, values: Any) -> dict[str, Any]:
    """`values`, once it has just the names of the dataclass `kind`'s fields. Raises ValueError."""
    if not isinstance(values, dict):
        raise ValueError(f"{values!r:.40} stands where an object should")
    known = {field.name for field in fields(kind)}
    faults = {"lacks": known - values.keys(), "has the unknown": values.keys() - known}
    told = [f"it {fault} {', '.join(sorted(names))}" for fault, names in faults.items() if names]
    if told:
        raise ValueError(" and ".join(told))
    return dict(values)


def _check_types(settings: Any) -> None:
    """ValueError for a field of a dataclass whose value is of another type; a whole number does for a float."""
    for field in fields(settings):
        value, kind = getattr(settings, field.name), field.type
        wanted: Any = (int, float) if kind is float else kind if isinstance(kind, type) else tuple
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{field.name} is {value!r:.40}, which is of a wrong type")


@dataclass(frozen=True)
class Assets:
    """A release's files, read: a tokenizer for each of `settings.tokenizers`, and scheduler_config.json."""

    tokenizers: Sequence[Tokenizer]
    scheduler: Mapping[str, Any]
    settings: InpaintSettings

    @classmethod
    def read(cls, folder: Path) -> "Assets":
        """Assets of the release in `folder`. Raises OSError or ValueError when they are missing or unusable."""
        settings = InpaintSettings.read(folder / "inpaint.json")
        scheduler = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
        tokenizers = [Tokenizer.from_file(str(folder / tokenizer.file)) for tokenizer in settings.tokenizers]
        assets = cls(tokenizers, scheduler, settings)
        assets.plan(settings.num_inference_steps)
        return assets

    def plan(self, num_inference_steps: int, strength: float = 1.0) -> Plan:
        """The sampler's plan: one denoising step a call of the UNet, so PNDM has one more than was asked for."""
        return make_plan(self.settings.sampler, self.scheduler, num_inference_steps, strength)

    def tokens(self, text: str) -> list[int]:
        """The text's token ids with begin and end marks, cut or padded to the text encoder's length.

        Where the checkpoint has several tokenizers: the ids of each, one after the other.
        """
        length, ids = self.settings.context_length, []
        for tokenizer, special in zip(self.tokenizers, self.settings.tokenizers, strict=True):
            words = tokenizer.encode(text, add_special_tokens=False).ids[: length - 2]
            row = [special.bos_token_id, *words, special.eos_token_id]
            ids += row + [special.pad_token_id] * (length - len(row))
        return ids
