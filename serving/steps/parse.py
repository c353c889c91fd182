"""parse: one sentence in, the edit that it asks for out. Requests that arrive together are decoded together."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from serving.errors import EditError
from serving.language.instruction import caption, check_prompt, read_answer
from serving.language.model import LanguageModel
from serving.language.settings import ParseSettings
from serving.steps.bls import deadline_of
from serving.steps.step import Step, guarded
from serving.steps.tensors import Outputs, bytes_tensor, text

REMEMBERED = 1000
"""Sentences. Decoding is greedy: the same one has the same answer text."""


@dataclass(frozen=True)
class Parameters:
    """`memory_limit_gb`: the language model may not need more to be loaded, in 1e9 bytes."""

    memory_limit_gb: float = math.inf


class TritonPythonModel(Step):
    parameters = Parameters

    def load(self, folder: Path, version: int, parameters: Parameters) -> None:
        settings = ParseSettings.read(folder / "parse.json")
        self.max_prompt_chars = settings.max_prompt_chars
        self.answer_texts: LRUCache[str, tuple[str, float]] = LRUCache(REMEMBERED)
        self.model = LanguageModel(
            folder / "checkpoint",
            quantisation=settings.quantisation,
            device=self.device,
            memory_limit=parameters.memory_limit_gb * 1e9,
        )

    def respond_all(self, requests) -> list[Outputs | EditError]:
        started = time.perf_counter()
        deadlines = [deadline_of(request) for request in requests]
        sentences = [guarded(self._sentence, request) for request in requests]
        asked = dict.fromkeys(sentence for sentence in sentences if isinstance(sentence, str))
        # Reading one that is known keeps it from being forgotten for the new ones.
        known = {sentence: self.answer_texts[sentence] for sentence in asked if sentence in self.answer_texts}
        new = [sentence for sentence in asked if sentence not in known]
        fresh = dict(zip(new, self.model.answer(new), strict=True))
        self.answer_texts.update(fresh)
        texts = known | fresh
        return [
            guarded(self._outputs, *texts[sentence], started, deadline) if isinstance(sentence, str) else sentence
            for sentence, deadline in zip(sentences, deadlines, strict=True)
        ]

    def _sentence(self, request) -> str:
        return check_prompt(text(request, "prompt"), self.max_prompt_chars)

    def _outputs(self, answer_text: str, score: float, started: float, deadline: float) -> Outputs:
        edit = read_answer(answer_text)
        report = {
            "releases": {"parse": self.version},
            "milliseconds": {"parse": round((time.perf_counter() - started) * 1e3, 1)},
        }
        return {
            "intent": bytes_tensor(edit.intent),
            "target": bytes_tensor(edit.target),
            "replacement": bytes_tensor(edit.replacement),
            "caption": bytes_tensor(caption(edit)),
            "parse_score": np.array([[score]], dtype=np.float32),
            "deadline": np.array([[deadline]]),
            "parse_report": bytes_tensor(json.dumps(report)),
        }
