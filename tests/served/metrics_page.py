"""Triton's metrics page. Not by prometheus_client's parser, which adds _total to the names of Triton's counters."""

import re
import urllib.request

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Series = dict[tuple[str, frozenset], float]


def scrape(server) -> Series:
    """Every sample of the server's page: (name, labels) -> value."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    samples = [_SAMPLE.match(line) for line in lines if line and not line.startswith("#")]
    assert all(samples)
    return {(name, frozenset(_LABEL.findall(labels or ""))): float(value) for name, labels, value in
            (sample.groups() for sample in samples)}  # fmt: skip


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of the samples of `name` that have these labels."""
    return sum(value for (known, having), value in series.items() if known == name and set(labels.items()) <= having)
