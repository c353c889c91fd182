"""docker/monitoring/dashboard.json as Grafana would read it. What its queries answer is in tests/served."""

import json
import re
from itertools import combinations
from pathlib import Path

DASHBOARD = json.loads((Path(__file__).parents[2] / "docker/monitoring/dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
OF_GRAFANA = {"__rate_interval"}


def test_no_two_panels_share_an_id_or_a_place():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_every_panel_says_what_it_shows_in_which_unit_and_asks_for_the_chosen_replicas():
    for panel in DRAWN:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in ("ops", "percentunit", "s", "short")
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"]), panel["title"]


def test_every_variable_is_declared():
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | OF_GRAFANA
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    assert used == declared


def test_a_legend_names_labels_that_its_query_keeps():
    for panel in DRAWN:
        for target in panel["targets"]:
            kept = [label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")]
            if kept:
                assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(kept), panel["title"]
