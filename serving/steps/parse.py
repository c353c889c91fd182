"""parse: one sentence in, the edit that it asks for out. Requests that arrive together are decoded together."""

import json
import time
from pathlib import Path

import numpy as np

from serving.errors import EditError
from serving.language.instruction import caption, check_prompt, read_answer
from serving.language.model import LanguageModel
from serving.recent import Recent
from serving.steps.bls import deadline_of
from serving.steps.step import Step, guarded
from serving.steps.tensors import bytes_tensor, text

REMEMBERED = 1000
"""Sentences. Decoding is greedy: the same one has the same answer."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        settings = json.loads((folder / "parse.json").read_text(encoding="utf-8"))
        self.max_prompt_chars = settings["max_prompt_chars"]
        memory_limit = float(parameters.pop("memory_limit_gb", "inf")) * 1e9
        if parameters:
            raise ValueError(f"unknown parameters {', '.join(parameters)}; known: memory_limit_gb")
        self.answers: Recent[tuple[str, float]] = Recent(REMEMBERED)
        self.model = LanguageModel(
            folder / "checkpoint",
            quantisation=settings["quantisation"],
            device=self.device,
            memory_limit=memory_limit,
        )

    def respond_all(self, requests) -> list[dict[str, np.ndarray] | EditError]:
        started = time.perf_counter()
        deadlines = [deadline_of(request) for request in requests]
        sentences = [guarded(self._sentence, request) for request in requests]
        asked = dict.fromkeys(sentence for sentence in sentences if isinstance(sentence, str))
        known = [sentence for sentence in asked if sentence in self.answers]
        new = [sentence for sentence in asked if sentence not in self.answers]
        fresh = iter(self.model.answer(new))
        # Those known first: asking for them keeps them from being forgotten for the new ones.
        answers = {sentence: self.answers.get(sentence, lambda: next(fresh)) for sentence in [*known, *new]}
        return [
            guarded(self._outputs, *answers[sentence], started, deadline) if isinstance(sentence, str) else sentence
            for sentence, deadline in zip(sentences, deadlines, strict=True)
        ]

    def _sentence(self, request) -> str:
        return check_prompt(text(request, "prompt"), self.max_prompt_chars)

    def _outputs(self, answer: str, score: float, started: float, deadline: float) -> dict[str, np.ndarray]:
        edit = read_answer(answer)
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
