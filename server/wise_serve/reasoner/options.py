"""The packages that options of the engine need. vLLM installs them only on the usual platforms."""

import os

from wise_serve.reasoner.engine_args import EngineArgsError
from wise_serve.reasoner.parallel import what_does_not_fit
from wise_serve.settings import Settings
from wise_serve.versions import package_version


def chosen_options(settings: Settings) -> dict[str, str]:
    """The flags that are set and need a package, each with that package."""
    needs = {
        "--structured-answers": ("llguidance", settings.structured_answers),
        "--ngram-tokens": ("numba", settings.ngram_tokens > 0),
    }
    return {flag: package for flag, (package, wanted) in needs.items() if wanted}


def what_is_missing(settings: Settings) -> str:
    """A mistake in `--engine-args`, or a package that is not installed; empty if nothing is
    wrong."""
    try:
        if misfit := what_does_not_fit(settings):
            return misfit
    except EngineArgsError as error:
        return str(error)
    return " ".join(
        f"{flag} needs the package '{package}': pip install {package}."
        for flag, package in chosen_options(settings).items()
        if package_version(package) == "none"
    )


def engine_threads(settings: Settings) -> int:
    """CPU threads of torch in the engine core; by default those that the segmenter leaves."""
    others = settings.segmenter_threads * len(settings.segmenter_placements)
    return settings.engine_threads or max(1, len(os.sched_getaffinity(0)) - others)
