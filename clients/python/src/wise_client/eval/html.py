"""The run as one page: no file beside it, nothing from the network, no script."""

from collections.abc import Sequence
from html import escape

from wise_client.errors import WiseClientError
from wise_client.eval import svg
from wise_client.eval.pictures import pictures
from wise_client.eval.runner import Shown, StrategyRun
from wise_client.eval.samples import Dataset
from wise_client.eval.table import cells
from wise_client.version import __version__

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; font-weight: normal; }
svg { width: 100%; max-width: 720px; height: auto; font-size: 13px; }
svg text { fill: currentColor; }
svg .grid { stroke: #8884; fill: none; } svg .axis { stroke: currentColor; fill: none; }
svg .mean { stroke: currentColor; stroke-dasharray: 3 3; fill: none; }
.case { margin: 1.2rem 0; border-top: 1px solid #8884; padding-top: .6rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; }
figure { margin: 0; } figure img { display: block; max-width: 19rem; }
figcaption, .note { opacity: .75; font-size: .9em; }
q { font-weight: 600; }
"""


def page(dataset: Dataset, runs: Sequence[StrategyRun]) -> str:
    """The whole document."""
    summaries = [run.summary for run in runs]
    tokens = [(run.strategy, [one.thinking_tokens for one in run.scored]) for run in runs]
    name = escape(dataset.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Evaluation on {name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Evaluation on {name}</h1>
<p class="note">{len(dataset)} samples ({escape(dataset.format)}), through POST /segment.
{_models(runs)} wise-client {escape(__version__)}.</p>
{_table(runs, cells(summaries))}
<p class="note">In brackets: the ratio to {escape(runs[0].strategy)}. Thinking tokens are the text
inside &lt;think&gt; only; completion tokens are everything that was generated.</p>
<h2>Accuracy against cost</h2>
{svg.accuracy_against_cost(summaries)}
<h2>Length of the rationales</h2>
{svg.distributions(tokens)}
{"".join(_worst(run) for run in runs)}
</body>
</html>
"""


def _models(runs: Sequence[StrategyRun]) -> str:
    models = sorted(set().union(*(run.models for run in runs)))
    told = "; ".join(
        f"{escape(reasoner)} and {escape(segmenter)}" for reasoner, segmenter in models
    )
    return f"Answered by {told}." if told else "Nothing was answered."


def _table(runs: Sequence[StrategyRun], lines: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(run.strategy)}</th>" for run in runs)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>\n" for line in lines
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _worst(run: StrategyRun) -> str:
    if not run.worst:
        return ""
    cases = "".join(_case(shown) for shown in run.worst)
    return f"<h2>Worst answers of {escape(run.strategy)}</h2>\n{cases}"


def _case(shown: Shown) -> str:
    scored = shown.scored
    facts = (
        f"{scored.name}: IoU {100 * scored.iou:.1f} %, {scored.status}, "
        f"{scored.thinking_tokens} thinking tokens"
    )
    return f"""<section class="case">
<div><q>{escape(scored.query)}</q></div>
<div class="row">{_figures(shown)}</div>
<div>{escape(scored.reasoning) or "<i>no rationale</i>"}</div>
<div class="note">{escape(facts)}</div>
</section>
"""


def _figures(shown: Shown) -> str:
    try:
        image, truth, answer = pictures(shown)
    except WiseClientError as error:
        return f"<p>{escape(error.detail)}</p>"
    return "".join(
        f'<figure><img src="{uri}" alt="{name}"><figcaption>{name}</figcaption></figure>'
        for uri, name in ((image, "image"), (truth, "truth"), (answer, "answer"))
    )
