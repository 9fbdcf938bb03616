"""Writes the two dashboards as the JSON that Grafana provisions: `make dashboards`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from panels import Panel
from serving_panels import SERVING
from token_panels import TOKENS

FOLDER: Final = Path(__file__).with_name("dashboards")
_SOURCE: Final = {"type": "prometheus", "uid": "wise-prometheus"}
_COLUMNS: Final = 24  # of Grafana's grid
_HEIGHT: Final = 8

_STRATEGY_VARIABLE: Final = {
    "name": "strategy",
    "type": "query",
    "datasource": _SOURCE,
    "query": "label_values(wise_requests_total, strategy)",
    "regex": "/^(?!none$).*/",
    "refresh": 2,
    "multi": True,
    "includeAll": True,
    "allValue": ".+",
    "current": {"text": "All", "value": "$__all"},
}


def panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """One panel at (x, y) of the grid."""
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {"fillOpacity": 10, "showPoints": "never"}
        if panel.stacked:
            custom |= {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    heatmap = panel.kind == "heatmap"
    instant = heatmap or panel.kind in ("bargauge", "stat")
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": {"calculate": False} if heatmap else {},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": instant and not heatmap,
                "format": "heatmap" if heatmap else "time_series",
            }
            for index, (legend, expression) in enumerate(panel.queries)
        ],
    }


def dashboard_json(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """A dashboard, its panels laid out row by row."""
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        placed.append(panel_json(panel, number, x, y))
        x += panel.width
    return {
        "uid": uid,
        "title": title,
        "tags": ["wise-serve"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_STRATEGY_VARIABLE]},
        "panels": placed,
    }


DASHBOARDS: Final = {
    "tokens.json": dashboard_json("wise-tokens", "Tokens per request", TOKENS),
    "serving.json": dashboard_json("wise-serving", "Serving", SERVING),
}


def main() -> None:
    """Run the command line."""
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / name).write_text(json.dumps(dashboard, indent=1) + "\n")


if __name__ == "__main__":
    main()
