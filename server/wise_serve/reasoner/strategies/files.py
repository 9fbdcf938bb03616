"""Strategy files to strategies. A file holds one strategy, as `strategy.schema.json` says."""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from wise_serve.reasoner.strategies.strategy import ASPECT, SQUARE, Strategy
from wise_serve.settings import Settings

_BUILT_IN_NAMES: Final = ("wise-s", "wise", "seg-zero", "vision-reasoner")
_MOST_BYTES: Final = 2**20
_SHIPPED: Final = resources.files(__package__).joinpath("shipped")
_MESSAGES: Final = {"extra_forbidden": "there is no such field", "missing": "is missing"}


class StrategyError(ValueError):
    """A strategy file cannot be used, or no strategy has this name. `mistakes`: one line each."""

    def __init__(self, about: str, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n  ".join((f"{about}:", *self.mistakes)))


def read_strategy(text: str, about: str) -> Strategy:
    """Read a strategy from a file's text; `about` names the file in errors.

    Raises StrategyError with every mistake in it."""
    try:
        record = json.loads(text, object_pairs_hook=_each_once)
    except ValueError as error:
        raise StrategyError(about, [f"not JSON: {error}"]) from None
    if not isinstance(record, dict):
        raise StrategyError(about, ["not a JSON object that describes one strategy"])
    record.pop("$schema", None)  # for editors: where the schema is
    try:
        return Strategy.model_validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        raise StrategyError(about, _mistakes(error)) from None


def read_file(path: Path) -> Strategy:
    """Raises StrategyError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StrategyError(str(path), ["too large for a strategy file"])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StrategyError(str(path), [error.strerror or "cannot be read"]) from None
    except UnicodeDecodeError:
        raise StrategyError(str(path), ["not UTF-8 text"]) from None
    return read_strategy(text, str(path))


def shipped_names() -> tuple[str, ...]:
    """Names of the strategies that come with the package, the built-in ones first."""
    found = sorted(item.name.removesuffix(".json") for item in _SHIPPED.iterdir())
    return (*_BUILT_IN_NAMES, *(name for name in found if name not in _BUILT_IN_NAMES))


def shipped_file(name: str) -> str:
    """The text of a file that comes with the package."""
    return _SHIPPED.joinpath(f"{name}.json").read_text(encoding="utf-8")


def read_shipped(name: str) -> Strategy:
    """A strategy that comes with the package."""
    return read_strategy(shipped_file(name), f"{name}.json")


def load_strategies(settings: Settings) -> dict[str, Strategy]:
    """The strategies of a server by name: the built-in ones, those of its files, and its default.

    Raises StrategyError if a file or a name is wrong."""
    loaded = dict(STRATEGIES)
    for path in settings.strategy_file:
        strategy = read_file(Path(path))
        if strategy.name in loaded:
            raise StrategyError(path, [f"the name {strategy.name!r} is in use: choose another"])
        if strategy.lora is not None and strategy.lora not in settings.adapters:
            given = ", ".join(settings.adapters) or "none"
            raise StrategyError(
                path,
                [f"lora: no adapter {strategy.lora!r} in --reasoner-lora, which names {given}"],
            )
        loaded[strategy.name] = strategy
    if settings.strategy not in loaded and settings.strategy in shipped_names():
        loaded[settings.strategy] = read_shipped(settings.strategy)
    if settings.strategy not in loaded:
        known = ", ".join(dict.fromkeys((*loaded, *shipped_names())))
        raise StrategyError("--strategy", [f"there is no {settings.strategy!r}. Known: {known}"])
    return loaded


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is given twice in one object")
    return record


def _mistakes(error: ValidationError) -> list[str]:
    """A line for each mistake."""
    lines = []
    for one in error.errors(include_url=False, include_input=False):
        named = [str(part) for part in one["loc"] if part not in (SQUARE, ASPECT)]
        message = _MESSAGES.get(one["type"], one["msg"].removeprefix("Value error, "))
        lines.append(f"{'.'.join(named) or 'the strategy'}: {message}")
    return lines


STRATEGIES: Final[Mapping[str, Strategy]] = {name: read_shipped(name) for name in _BUILT_IN_NAMES}
