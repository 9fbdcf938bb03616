"""The stand-in for torchvision's operators is used only if the real ones cannot be loaded."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import wise_torchvision


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded and declared of a torchvision in `tmp_path`."""
    made: list[str] = []
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    library = SimpleNamespace(define=lambda schema: made.append(schema.split("(")[0]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: made.append(Path(path).name))
    monkeypatch.setattr(torch.library, "Library", lambda *words: library)
    monkeypatch.setattr(wise_torchvision, "_library", None)
    monkeypatch.setattr(torch.version, "cuda", None)
    return made


@pytest.mark.parametrize("name", ["_C.so", "_C_stable.so"])
def test_operators_that_load_are_not_declared_again(
    tmp_path: Path, calls: list[str], name: str
) -> None:
    (tmp_path / name).touch()
    wise_torchvision.define_missing_operators()
    assert calls == [name]


def test_operators_built_for_another_torch_are_declared(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise OSError("undefined symbol")

    (tmp_path / "_C_stable.so").touch()
    monkeypatch.setattr(torch.ops, "load_library", refuse)
    wise_torchvision.define_missing_operators()
    assert calls == ["nms", "qnms"]


def test_nothing_is_declared_if_torch_is_built_for_a_gpu(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_C_stable.so").touch()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    wise_torchvision.define_missing_operators()
    assert calls == []
