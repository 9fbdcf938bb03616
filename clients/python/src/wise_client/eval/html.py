"""The run as one page: no file beside it, nothing from the network, no script.

What is on the page is in `page.html.jinja`; everything a dataset or a model wrote is escaped there.
"""

from collections.abc import Sequence

from wise_client import extras
from wise_client.errors import WiseClientError
from wise_client.eval import figures, frontier, pictures
from wise_client.eval.runner import Shown, StrategyRun
from wise_client.eval.samples import Dataset
from wise_client.eval.table import cells
from wise_client.version import __version__


def check_installed() -> None:
    """Raises InputError when a package that the page needs is missing."""
    extras.jinja2()
    extras.matplotlib()


def page(dataset: Dataset, runs: Sequence[StrategyRun]) -> str:
    """The whole document. Raises InputError when a package that it needs is missing."""
    jinja2 = extras.jinja2()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wise_client", "eval"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    summaries = [run.summary for run in runs]
    verdict = frontier.verdict(runs)
    tokens = [(run.strategy, [one.thinking_tokens for one in run.scored]) for run in runs]
    rendered: str = environment.get_template("page.html.jinja").render(
        dataset=dataset,
        runs=runs,
        models=sorted(set().union(*(run.models for run in runs))),
        lines=cells(summaries),
        version=__version__,
        verdict=verdict.sentence(runs) if verdict else None,
        choice=figures.choice(runs) if verdict else None,
        accuracy_against_cost=figures.accuracy_against_cost(summaries),
        distributions=figures.distributions(tokens),
        pictures=_pictures,
    )
    return rendered


def _pictures(shown: Shown) -> dict[str, str]:
    """Name -> data URI; empty when the image is gone since it was asked about."""
    try:
        image, truth, answer = pictures.pictures(shown)
    except WiseClientError:
        return {}
    return {"image": image, "truth": truth, "answer": answer}
