"""The dashboards as code, and the picture drawn from Prometheus' answers."""

import json
from pathlib import Path

import yaml

import build
from serving_panels import SERVING
from token_panels import TOKENS

GRAFANA = Path(build.__file__).parent


def test_the_json_is_what_the_tables_say() -> None:
    files = {path.name: json.loads(path.read_text()) for path in build.FOLDER.glob("*.json")}
    assert files == build.DASHBOARDS, "run `make dashboards`"


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    for dashboard in build.DASHBOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + dx, place["y"] + dy)
                for dx in range(place["w"])
                for dy in range(place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_every_panel_reads_the_provisioned_source() -> None:
    path = GRAFANA / "provisioning" / "datasources" / "prometheus.yml"
    [source] = yaml.safe_load(path.read_text())["datasources"]
    for dashboard in build.DASHBOARDS.values():
        for panel in dashboard["panels"]:
            for part in (panel, *panel["targets"]):
                assert part["datasource"] == {"type": source["type"], "uid": source["uid"]}


def test_titles_are_unique_and_every_panel_explains_itself() -> None:
    for panels in (TOKENS, SERVING):
        titles = [panel.title for panel in panels]
        assert len(titles) == len(set(titles))
        assert all(panel.text.endswith(".") for panel in panels)


def test_the_papers_means_are_reference_lines() -> None:
    shown = [expression for panel in TOKENS for _, expression in panel.queries]
    assert {"vector(112)", "vector(23)"} <= set(shown)
