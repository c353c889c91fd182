"""docker/monitoring against the real server: its metrics page, and a real Prometheus that scrapes it.

What the alerts do is tested by promtool, in tests/contract/test_alerts.py.
"""

import math
import re
from contextlib import nullcontext
from functools import partial

import pytest
from recast import Client

from benchmarks.dashboard import MISSING, PROMETHEUS, Prometheus, alerts, ask, flood, leave, queries
from benchmarks.fleet import until
from tests.served.metrics_page import scrape

EXPRESSIONS = {
    **{f"{query.panel} {query.legend}": query.expression for query in queries() if not query.of_gpus},
    **alerts(),
}
_METRIC = re.compile(r"\b([a-z]\w*_\w+)\b(?!\()(?:\{([^}]*)\})?")  # a word with "_" that is no function
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120, retries=0) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server):
    """A real one that scrapes the server, or None where none is installed."""
    with Prometheus(server.metrics_url) if PROMETHEUS else nullcontext() as running:
        yield running


@pytest.fixture(scope="module")
def _used(client, prometheus):
    """An edit, more edits than there are places, and one that its caller leaves."""
    ended = {ask(client, 0), *flood(client)}
    leave(client)
    assert ended == {"ok", "overloaded"}


@pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)
@pytest.mark.usefixtures("_used")
def test_prometheus_answers_every_query_with_a_number(prometheus):
    until(lambda: {"ok", "overloaded"} <= outcomes(prometheus), 10, "Prometheus has scraped the edits")
    for query in queries():
        if not query.of_gpus:
            until(partial(has_number, prometheus, query.expression), 10, f"an answer to {query}")


@pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)
def test_prometheus_takes_every_alert(prometheus):
    until(lambda: all(rule["health"] == "ok" for rule in rules(prometheus)), 10, "Prometheus evaluates the alerts")
    assert {rule["name"] for rule in rules(prometheus)} == alerts().keys()


def has_number(prometheus, expression: str) -> bool:
    return any(math.isfinite(value) for _, value in prometheus.query(expression))


def outcomes(prometheus) -> set[str]:
    """Those that the dashboard's first panel shows to have happened lately."""
    return {
        labels["outcome"] for labels, rate in prometheus.query(EXPRESSIONS["Edits by outcome {{outcome}}"]) if rate > 0
    }


def rules(prometheus) -> list[dict]:
    return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]


@pytest.mark.usefixtures("_used")
@pytest.mark.parametrize("title", EXPRESSIONS)
def test_every_metric_label_and_value_that_is_asked_for_is_on_the_page(server, title):
    expression = EXPRESSIONS[title]
    page = [(name, dict(labels)) for name, labels in scrape(server)]
    grouped = {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",")} - OF_PROMETHEUS
    for metric, matchers in _METRIC.findall(expression):
        series = [labels for name, labels in page if name == metric]
        assert series, metric
        assert all(grouped <= labels.keys() for labels in series), (metric, grouped)
        for label, operator, value in _MATCHER.findall(matchers):
            wanted = value.split("|") if operator == "=~" else [re.escape(value)]
            for pattern in wanted if label not in OF_PROMETHEUS else ():
                assert any(re.fullmatch(pattern, labels.get(label, "")) for labels in series), (metric, label, pattern)


def test_the_page_is_asked_for_in_every_panel_and_alert_but_the_one_of_prometheus_own():
    assert [title for title, expression in EXPRESSIONS.items() if not _METRIC.search(expression)] == ["RecastDown"]
