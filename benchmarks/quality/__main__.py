"""How good the edits are, measured through the served ensemble on held-out scenes and sentences.

    python -m benchmarks.quality --scenes 200
    python -m benchmarks.quality --url localhost:8001 --figures recolour remove --scenes 40

prints a table and, as its last line, one JSON document. A run of all figures against a server of its own writes both
to benchmarks/results/. The first twelve edits, unpicked, are written at full size to build/quality/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from recast import Client
from tritonclient.grpc import InferenceServerClient

from benchmarks.quality.cases import JUDGE, REPOSITORY, RESULTS, Case, cases
from benchmarks.quality.edits import Trial
from benchmarks.quality.figures import Tally, table
from benchmarks.quality.second_look import SecondLook, measure_scores
from benchmarks.quality.truth import Truth
from benchmarks.quality.words_and_masks import measure_judge, measure_mask, measure_pair, measure_parse
from benchmarks.sheet import Entry, below, full_size
from export.demo import world
from export.demo.judge import Judge
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

SHEETS = Path("build/quality")
SHOWN = 12
"""How many edits are shown: the first ones, the three intents in turn."""
GROUPS = ["parse", "mask", "judge", "replace", "recolour", "remove", "hex", "score"]
"""What --figures takes."""
Way = Callable[[Truth], Entry]


def look(client: Client, judge: Judge, tally: Tally, chosen: list[Case], groups: list[str]) -> None:
    """What is measured without an edit."""
    if "parse" in groups:
        measure_parse(client, tally, chosen[0].seed, len(chosen))
    for n, case in enumerate(chosen):
        if "judge" in groups:
            measure_judge(judge, tally, case)
        if "mask" in groups:
            measure_mask(client, tally, case)
            measure_pair(client, tally, case.seed)
            _progress(n + 1, len(chosen), "masks")


def edit(trial: Trial, chosen: list[Case], groups: list[str]) -> list[Entry]:
    """Every case edited in each of the ways that `groups` names. Returns the edits to show, in order."""
    ways: dict[str, Way] = {
        "replace": trial.replace,
        "recolour": trial.recolour,
        "remove": trial.remove,
        "hex": trial.recolour_exactly,
    }
    asked = [ways[group] for group in groups if group in ways]
    shown = []
    with ThreadPoolExecutor(4) as pool:
        for n, entries in enumerate(pool.map(lambda case: _all_ways(Truth(case), asked), chosen if asked else [])):
            if n < SHOWN:
                shown.append(entries[n % min(3, len(asked))])
            _progress(n + 1, len(chosen), "scenes edited")
    return shown


def _all_ways(truth: Truth, ways: list[Way]) -> list[Entry]:
    return [way(truth) for way in ways]


def show(entries: list[Entry]) -> None:
    """Each edit at full size, and all of them below each other in sheet.png."""
    SHEETS.mkdir(parents=True, exist_ok=True)
    pairs = [full_size(entry) for entry in entries]
    for n, pair in enumerate(pairs, 1):
        pair.save(SHEETS / f"{n:02}.png")
    below(pairs).save(SHEETS / "sheet.png")


def _progress(done: int, total: int, what: str) -> None:
    if done % 20 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=world.HELD_OUT, help="first scene (default: %(default)s)")
    parser.add_argument("--url", help="a running server's gRPC address; default: start one")
    parser.add_argument("--figures", nargs="+", choices=GROUPS, default=GROUPS, help="only these (default: all)")
    return parser


def main() -> None:
    options = arguments().parse_args()
    judge, tally = Judge(JUDGE), Tally()
    chosen = list(cases(options.seed, options.scenes))
    with ExitStack() as stack:
        url = options.url or stack.enter_context(start(ServerOptions(REPOSITORY, config=quickest_config()))).grpc_url
        client = stack.enter_context(Client(url, timeout=300))
        look(client, judge, tally, chosen, options.figures)
        entries = edit(Trial(client, judge, tally), chosen, options.figures)
        if "score" in options.figures:
            measure_scores(SecondLook(client, InferenceServerClient(url), judge), tally, chosen)
    figures = tally.figures()
    print("\n" + table(figures) + "\n")
    if entries:
        show(entries)
        print(f"{len(entries)} edits at full size: {SHEETS}\n")
    document = {"scenes": options.scenes, "seed": options.seed, "figures": figures}
    if options.figures == GROUPS and not options.url:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "quality.json").write_text(json.dumps(document, indent=1) + "\n")
        (RESULTS / "quality.md").write_text(table(figures) + "\n")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
