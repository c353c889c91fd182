"""docker/monitoring as Prometheus' own tool sees it: the configuration, the alerts, and when each of them fires."""

import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).parents[2] / "docker/monitoring"
PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: install Debian's package prometheus")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", MONITORING / "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", MONITORING / "alerts.yml"),
        ("test", "rules", Path(__file__).with_name("alerts.yml")),
    ],
    ids=lambda words: f"{words[0]} {words[1]}",
)
def test_promtool_agrees(words):
    done = subprocess.run([str(PROMTOOL), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
