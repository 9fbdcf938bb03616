"""Packages that are extras: imported where they are used, with what to install if they are not."""

import importlib
from typing import Any

from wise_client.errors import InputError


def pyarrow() -> Any:
    """pyarrow; raises InputError where it is not installed."""
    return _needed("pyarrow", "batch", "Parquet")


def pyarrow_parquet(extra: str = "batch") -> Any:
    """pyarrow.parquet; raises InputError where it is not installed, naming `extra`."""
    return _needed("pyarrow.parquet", extra, "Parquet")


def opencv() -> Any:
    """cv2; raises InputError where it is not installed."""
    return _needed("cv2", "eval", "Filling polygons")


def jinja2() -> Any:
    """jinja2; raises InputError where it is not installed."""
    return _needed("jinja2", "eval", "An HTML report")


def waitress() -> Any:
    """waitress; raises InputError where it is not installed."""
    return _needed("waitress", "label-studio", "An ML backend of Label Studio")


def matplotlib() -> Any:
    """matplotlib with its `figure`, which needs no display; raises InputError where it is not
    installed."""
    _needed("matplotlib.figure", "eval", "An HTML report")
    return importlib.import_module("matplotlib")


def _needed(module: str, extra: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what} needs: pip install 'wise-client[{extra}]'") from error
