"""The notebook: the pipeline in a process of its own, which has both cores to itself while nobody else is asked."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.rivals.pipeline import CHECKPOINTS, PRECISIONS, Pipeline
from benchmarks.rivals.request import Request


class NotebookEnded(RuntimeError):
    """The child process has ended by itself; its traceback is on stderr."""


class Notebook:
    """A context manager; `edit` blocks until the child process has answered."""

    def __init__(self, precision: str, checkpoints: Path = CHECKPOINTS):
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, checkpoints, precision), daemon=True)

    def __enter__(self) -> Notebook:
        self._process.start()
        try:
            self._receive()  # it is warm
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *exception) -> None:
        if self._process.is_alive():
            self._ours.send(None)
            self._process.join(10)
            self._process.kill()

    def edit(self, request: Request) -> bytes:
        """The edited picture as a PNG file; EditError when the sentence or the picture allows no edit."""
        self._ours.send(request)
        return self._receive()

    def _receive(self) -> bytes:
        while not self._ours.poll(1):
            if not self._process.is_alive():
                raise NotebookEnded("the notebook's process has ended")
        answer = self._ours.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def best_precision(requests: Sequence[Request], checkpoints: Path = CHECKPOINTS) -> tuple[str, dict[str, float]]:
    """The precision at which the notebook is quickest on this machine, and the median seconds of an edit at each.

    A precision that does not run here (compiling takes a C++ compiler) is said so and left out.
    """
    seconds: dict[str, float] = {}
    for precision in PRECISIONS:
        try:
            with Notebook(precision, checkpoints) as notebook:
                seconds[precision] = statistics.median(_seconds(notebook, request) for request in requests)
        except NotebookEnded:
            print(f"{precision} does not run on this machine", flush=True)
    return min(seconds, key=lambda precision: seconds[precision]), seconds


def _seconds(notebook: Notebook, request: Request) -> float:
    started = time.perf_counter()
    notebook.edit(request)
    return time.perf_counter() - started


def _serve(connection: Connection, checkpoints: Path, precision: str) -> None:
    pipeline = Pipeline(checkpoints, precision)
    pipeline.warm_up([1])
    connection.send(b"")
    while (request := connection.recv()) is not None:
        (answer,) = pipeline.edit_all([request])
        connection.send(answer)
