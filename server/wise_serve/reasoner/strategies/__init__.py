"""Strategies: the prompt of a checkpoint, and how its answer is read. Each is one JSON file.

    strategy    the fields of a strategy: the pydantic model, from which the JSON schema is made
    files       strategy files to strategies, with every mistake of a file named
    pixels      whether a checkpoint's preprocessor leaves the strategy's image unchanged
    images      the image as the strategy's checkpoint sees it
    shipped/    the files that come with the package

`STRATEGIES` are the built-in ones, which every server offers. A server offers another file of
`shipped/` only if `--strategy` names it.
"""

from wise_serve.reasoner.strategies.files import STRATEGIES, StrategyError, load_strategies
from wise_serve.reasoner.strategies.strategy import Strategy

__all__ = ["STRATEGIES", "Strategy", "StrategyError", "load_strategies"]
