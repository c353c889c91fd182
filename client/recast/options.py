"""The options of an edit, by name and type: once for both clients, a stream and the wire.

What each means stands where a caller looks for it: in `Client.replace`. One that is absent or None is not sent: the
server knows the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class EditOptions(TypedDict, total=False):
    """The keywords of `replace`; the last two are of the call and not of the edit."""

    seed: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    strength: float | None
    negative_prompt: str | None
    num_images: int | None
    max_attempts: int | None
    priority: str | None
    canary_key: str | None
    timeout: float | None
    request_id: str | None


class StreamOptions(EditOptions, total=False):
    """The keywords of `replace_stream`."""

    preview_side: int | None


def check_names(options: Mapping[str, Any], known: type[EditOptions]) -> None:
    """Raises TypeError for a keyword that `known` does not have, as a signature that spells all of them would."""
    names = known.__annotations__
    for name in options:
        if name not in names:
            raise TypeError(f"unexpected keyword argument {name!r}; the options are {', '.join(sorted(names))}.")
