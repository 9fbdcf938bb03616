"""`wise-serve`: the server's command line."""

import argparse
import sys
from collections.abc import Sequence

from wise_serve import processes
from wise_serve.cli import strategies
from wise_serve.cli.flags import add_flags, settings_from
from wise_serve.reasoner.strategies import StrategyError, load_strategies
from wise_serve.versions import VERSION

if processes.in_child():  # multiprocessing imports the main module first; `vllm_plugin` resumes
    processes.pause_collector()

_DESCRIPTION = "Language segmentation: given an image and a sentence, which pixels are meant?"
_SERVE = """Serve POST /segment, the probes, the metrics and the playground page.

Without flags it serves the miniature pair that comes with the package. Every flag is also an
environment variable, named in brackets; a flag wins over the variable.

On SIGTERM or Ctrl-C the server refuses new requests, finishes those it has, and exits with status
0. A second signal ends it at once. If the models cannot be started, the exit status is 1."""
_EXAMPLES = """examples:
  wise-serve serve
  wise-serve serve --port 9000 --max-inflight-requests 16
  wise-serve serve --reasoner Ricky06662/VisionReasoner-7B --strategy vision-reasoner \\
      --segmenter facebook/sam2-hiera-large --host 0.0.0.0"""


_CHECK = """Check whether `serve` would work here: versions, driver, memory for the models, port,
shared memory, file limits, weights. It accepts the flags and the environment of `serve`.

Loads no model. For each problem it says what to change. The exit status is 1 if `serve` would
fail, 0 otherwise."""
_CHECK_EXAMPLES = """examples:
  wise-serve check
  wise-serve check --reasoner Ricky06662/VisionReasoner-7B --segmenter facebook/sam2-hiera-large
  wise-serve check --json --device cuda"""


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="wise-serve",
        description=_DESCRIPTION,
        epilog="`wise-serve COMMAND --help` lists the flags of a command.",
    )
    parser.add_argument("--version", action="version", version=f"wise-serve {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the server until a signal ends it",
        usage="wise-serve serve [FLAGS]",
        description=_SERVE,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(serve)
    check = commands.add_parser(
        "check",
        help="check whether `serve` would work here",
        usage="wise-serve check [--json] [FLAGS]",
        description=_CHECK,
        epilog=_CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")
    add_flags(check)
    about = "list, check or show strategies: the prompts of checkpoints, and how answers are read"
    strategies.add_commands(commands.add_parser("strategies", help=about))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = make_parser()
    given = vars(parser.parse_args(arguments))
    if given["command"] == "strategies":
        return strategies.run(parser, given)
    settings = settings_from(parser, given)
    try:
        loaded = load_strategies(settings)
    except StrategyError as error:
        parser.error(str(error))
    # Imported only here: these imports take a second (the hub's client) or more (vLLM). --help, a
    # wrong flag and vLLM's child processes must not wait for them.
    if given["command"] == "check":
        from wise_serve.preflight.report import preflight, report

        return report(preflight(settings, loaded), as_json=given["json"])
    processes.pause_collector()
    from wise_serve.compose import compose, tracing
    from wise_serve.http.access import AccessError
    from wise_serve.reasoner.engine_args import EngineArgsError
    from wise_serve.server.serving import serve

    processes.resume_collector()
    try:
        with tracing(settings) as tracer:
            return serve(compose(settings, loaded), tracer)
    except (AccessError, EngineArgsError) as error:
        print(f"wise-serve: {error}", file=sys.stderr)
        return 1
