"""The monitoring with the real thing: promtool, and a Prometheus that scrapes a server under load.

Panels that need a GPU (DCGM) are listed apart: they are only parsed. Those of vLLM return data
where the real engine runs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from monitoring import RULES, ask, load, running_prometheus, wait_for
from render import render
from running import running_server
from wise_serve.reasoner.strategies import STRATEGIES

DASHBOARDS = RULES.parent / "grafana" / "dashboards"
GPU_PANELS = {"GPU: utilisation", "GPU: memory in use", "GPU: power"}
ENGINE_PANELS = {"Engine: requests", "Engine: KV cache", "Engine: generated tokens"}
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$strategy": ".+"}
DATA_WITHIN_S = 20.0
LOAD_WITHIN_S = 40.0
# An alert's left side: what is watched, before it is held against a threshold.
WATCHED = re.compile(r"^(.*?) (?:>|<|==) [\d.]+")

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs Debian's package `prometheus`"
)


@dataclass(frozen=True)
class Watched:
    """Servers and the Prometheus that watches them, after the load."""

    urls: list[str]
    prometheus: str

    def load_until_seen(self, wanted: list[str]) -> None:
        """A rate needs events between two scrapes, which come late on a busy machine: the load
        goes on until every expression has data, or until the deadline; the tests say what lacks."""
        up = f'sum(up{{job="wise-serve"}}) == {len(self.urls)}'
        assert wait_for(self.prometheus, [up], DATA_WITHIN_S) == []
        give_up = time.monotonic() + LOAD_WITHIN_S
        for url, requests in zip(self.urls, (40, 8), strict=False):  # unequal, as in life
            load(url, requests=requests)
        while wait_for(self.prometheus, wanted, within_s=1.0) and time.monotonic() < give_up:
            for url in self.urls:
                load(url, requests=8)


@pytest.fixture(scope="module")
def fakes() -> Iterator[Watched]:
    script = Path(__file__).with_name("serve_varied.py")
    path = os.pathsep.join(sys.path)
    with (
        running_server(script=script, PYTHONPATH=path) as one,
        running_server(script=script, PYTHONPATH=path) as other,
        running_prometheus(one.url, other.url) as prometheus,
    ):
        watched = Watched([one.url, other.url], prometheus)
        watched.load_until_seen(all_expressions(without_panels=GPU_PANELS | ENGINE_PANELS))
        yield watched


def panels() -> list[dict[str, Any]]:
    return [
        panel
        for path in sorted(DASHBOARDS.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
    ]


def expressions(panel: dict[str, Any]) -> list[str]:
    found = [target["expr"] for target in panel["targets"]]
    for variable, value in VARIABLES.items():
        found = [expression.replace(variable, value) for expression in found]
    assert not [expression for expression in found if "$" in expression]
    return found


def rules() -> list[dict[str, Any]]:
    files = yaml.safe_load((RULES / "prometheus.yml").read_text())["rule_files"]
    groups = [yaml.safe_load((RULES / name).read_text())["groups"] for name in files]
    return [rule for file in groups for group in file for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def all_expressions(*, without_panels: set[str]) -> list[str]:
    """Of every panel, every recording rule, and what every alert watches."""
    found = [
        text for panel in panels() if panel["title"] not in without_panels
        for text in expressions(panel)
    ]  # fmt: skip
    for rule in rules():
        text = rule["expr"]
        if "alert" in rule:
            watched = WATCHED.match(text)
            assert watched, f"{rule['alert']} compares nothing with a number"
            text = watched[1]
        found.append(text)
    return found


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_configuration_and_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", "wise.alerts.yml")


def test_promtool_runs_the_unit_tests_of_the_alerts() -> None:
    assert "SUCCESS" in promtool("test", "rules", "wise.alerts_test.yml")


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((RULES / "wise.alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is fires}
        assert tested == {alert["alert"] for alert in alerts()}


def test_every_alert_says_what_to_do() -> None:
    operations = (RULES.parents[1] / "docs" / "operations.md").read_text()
    headings = {
        line.strip("# ").lower() for line in operations.splitlines() if line.startswith("#")
    }
    for alert in alerts():
        assert {"summary", "description", "runbook"} <= set(alert["annotations"])
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == alert["alert"].lower()
        assert anchor in headings


def test_budgets_are_set_for_every_built_in_strategy() -> None:
    budgets = [r for r in rules() if r.get("record") == "wise:thinking_tokens:own_budget"]
    assert {rule["labels"]["strategy"] for rule in budgets} == set(STRATEGIES)


def test_no_recorded_series_is_of_one_server() -> None:
    """Averages and maxima over servers, and quantiles of quantiles, would show a wrong cluster."""
    for rule in rules():
        if "record" in rule:
            assert not re.search(r"\b(avg|quantile|quantile_over_time)\b", rule["expr"])
            if "histogram_quantile" in rule["expr"]:
                assert re.search(r"sum by \([a-z, ]*\ble\) \(rate\(", rule["expr"])


def test_both_servers_are_shown_apart_and_summed(fakes: Watched) -> None:
    apart = {panel["title"]: panel for panel in panels() if panel["title"].startswith("By ")}
    assert len(apart) == 7
    two = [
        f"count({expression}) == 2" for panel in apart.values() for expression in expressions(panel)
    ]
    assert wait_for(fakes.prometheus, two, DATA_WITHIN_S) == []
    [together] = ask(fakes.prometheus, "sum(wise_requests_total)")
    each = ask(fakes.prometheus, "sum by (instance) (wise_requests_total)")
    assert together == sum(each) > max(each) > 2 * min(each) > 0


def test_every_expression_returns_data(fakes: Watched) -> None:
    wanted = all_expressions(without_panels=GPU_PANELS | ENGINE_PANELS)
    assert len(wanted) > 50
    assert wait_for(fakes.prometheus, wanted, DATA_WITHIN_S) == []


def test_the_recorded_series_exist(fakes: Watched) -> None:
    names = sorted({rule["record"] for rule in rules() if "record" in rule})
    assert wait_for(fakes.prometheus, names, DATA_WITHIN_S) == []


def test_no_expression_is_an_error(fakes: Watched) -> None:
    for panel in panels():
        for text in expressions(panel):
            ask(fakes.prometheus, text)
    for alert in alerts():
        ask(fakes.prometheus, alert["expr"])


def test_expressions_without_data_here_are_those_that_need_a_gpu_or_the_engine() -> None:
    for titles, mark in ((GPU_PANELS, "DCGM_"), (ENGINE_PANELS, "vllm:")):
        needing = {panel["title"] for panel in panels() if mark in str(expressions(panel))}
        assert needing == titles


def test_means_and_counts_agree_with_what_was_served(fakes: Watched) -> None:
    [short] = ask(fakes.prometheus, 'wise:thinking_tokens:mean5m{strategy="wise-s"}')
    [long] = ask(fakes.prometheus, 'wise:thinking_tokens:mean5m{strategy="seg-zero"}')
    assert 2 <= short <= 10 < 40 <= long <= 70
    [unparsed] = ask(fakes.prometheus, "wise:unparsed:ratio5m")
    assert 0.02 <= unparsed <= 0.2
    assert wait_for(fakes.prometheus, ['ALERTS{alertname="WiseUnparsed"}'], DATA_WITHIN_S) == []
    assert ask(fakes.prometheus, 'ALERTS{alertname=~"WiseDown|WiseEngineNotReady"}') == []


def test_the_token_dashboards_picture_is_drawn(fakes: Watched, tmp_path: Path) -> None:
    render(fakes.prometheus, tmp_path / "tokens.png", "fakes")
    with Image.open(tmp_path / "tokens.png") as drawn:
        assert min(drawn.size) > 500
        assert len(drawn.convert("RGB").getcolors(2**24) or []) > 100


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with (
        running_prometheus("http://127.0.0.1:9") as prometheus,
        pytest.raises(ValueError, match="no thinking tokens"),
    ):
        render(prometheus, tmp_path / "tokens.png", "nothing")


@pytest.mark.slow
def test_every_expression_returns_data_from_the_real_server(server_url: str) -> None:
    with running_prometheus(server_url) as prometheus:
        wanted = all_expressions(without_panels=GPU_PANELS)
        Watched([server_url], prometheus).load_until_seen(wanted)
        assert wait_for(prometheus, wanted, DATA_WITHIN_S) == []
