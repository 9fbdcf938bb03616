"""Strategies: how a checkpoint is asked, and how its answer is read. Each is one JSON file.

    strategy    what a strategy says: the pydantic model, of which the JSON schema is made
    files       strategy files to strategies, with every mistake of a file named
    pixels      whether a checkpoint's preprocessor leaves that image as it is
    images      the image as the strategy's checkpoint sees it
    shipped/    the files that come with the package

`STRATEGIES` are the built-in ones, which every server offers. A server offers another file of
`shipped/` only if `--strategy` names it.
"""

from wise_serve.reasoner.strategies.files import STRATEGIES, StrategyError, load_strategies
from wise_serve.reasoner.strategies.strategy import Strategy

__all__ = ["STRATEGIES", "Strategy", "StrategyError", "load_strategies"]
