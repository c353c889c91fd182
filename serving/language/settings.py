"""What a release of parse is served with: the content of its parse.json, written by the export."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.intents import MAX_PROMPT_CHARS
from serving.settings import check_names


@dataclass(frozen=True)
class ParseSettings:
    """`quantisation`: of the linear layers, see `serving.language.model`. `max_prompt_chars`: the longest sentence."""

    quantisation: str | None = "nf4"
    max_prompt_chars: int = MAX_PROMPT_CHARS

    def __post_init__(self) -> None:
        if type(self.max_prompt_chars) is not int or self.max_prompt_chars < 1:
            raise ValueError(f"max_prompt_chars is {self.max_prompt_chars!r}, and must be a whole number from 1 on")

    @classmethod
    def read(cls, file: Path) -> "ParseSettings":
        """The settings in a parse.json; ValueError for one that is unknown, missing or cannot be."""
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        check_names(cls, values, f"settings in {file.name}")
        return cls(**values)
