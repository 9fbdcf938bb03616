"""The packages that options of the engine need. vLLM installs them only on the usual platforms."""

from wise_serve.reasoner.engine_args import read_engine_args
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
    """What is wrong with the engine's options; empty if nothing is.

    That is a mistake in `--engine-args`, or a package that is not installed."""
    try:
        read_engine_args(settings.engine_args)
    except ValueError as error:
        return str(error)
    return " ".join(
        f"{flag} needs the package '{package}': pip install {package}."
        for flag, package in chosen_options(settings).items()
        if package_version(package) == "none"
    )
