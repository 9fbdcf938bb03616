"""Explains a failure of the model hub in plain words, for `wise-serve check` and for downloads.

The hub's own messages are many lines, and some name an error that is only a consequence. This
module searches the chain of causes for the one that a person can act on.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

import huggingface_hub.constants as hub_constants
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

_ELSEWHERE = "fetch it elsewhere: docs/operations.md, 'Offline install'."


@dataclass(frozen=True, slots=True)
class HubFailure:
    """found: why the checkpoint is not available, without its name. advice: a sentence that says
    what to do."""

    found: str
    advice: str


def explain(error: Exception) -> HubFailure:
    """What `error`, raised by the hub's client, means."""
    for one in _causes(error):
        match one:
            case OSError(errno=errno.ENOSPC):
                return HubFailure("the disk is full", "Set HF_HOME to a folder on a larger disk.")
            case GatedRepoError():
                return HubFailure(
                    "the hub requires a token for it", "Accept its terms there, then set HF_TOKEN."
                )
            case HFValidationError():
                return HubFailure(
                    "it is neither a folder nor a name that a hub repository can have",
                    "Check the spelling: a hub name is like facebook/sam2-hiera-large.",
                )
            case RepositoryNotFoundError() | RevisionNotFoundError():
                return HubFailure(
                    "it is neither on this machine nor on the hub",
                    "Please check the spelling; a private repository needs HF_TOKEN.",
                )
            case OfflineModeIsEnabled():
                return _offline()
    if hub_constants.HF_HUB_OFFLINE:
        return _offline()
    return HubFailure(
        f"it is not on this machine, and the hub cannot be reached ({_network(error)})",
        f"Allow the network, or {_ELSEWHERE}",
    )


def _offline() -> HubFailure:
    return HubFailure(
        "it is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub",
        f"Unset HF_HUB_OFFLINE, or {_ELSEWHERE}",
    )


def _causes(error: BaseException) -> Iterator[Exception]:
    """The error, then the errors it was raised from."""
    one: BaseException | None = error
    while isinstance(one, Exception):
        yield one
        one = one.__cause__


def _network(error: Exception) -> str:
    """The type of the first cause: that of the network's own error."""
    *_, first = _causes(error)
    return type(first).__name__
