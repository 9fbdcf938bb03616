"""A user's own SAM 2: files, folders, configs, and the errors if they do not fit."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

from wise_serve import miniature
from wise_serve.contract.errors import NotReady
from wise_serve.segmenter.sam2.checkpoints import build_public, load_model
from wise_serve.segmenter.sam2.own import guess_published

CPU = torch.device("cpu")
CONFIG = Path(miniature.__file__).with_name("sam2_miniature.yaml")
STATE = load_file(miniature.SEGMENTER_WEIGHTS)


def same_weights(model: Any) -> bool:
    state = model.state_dict()
    return all(torch.equal(state[name], tensor.float()) for name, tensor in STATE.items())


@pytest.mark.parametrize("form", ["folder", "safetensors", "pt", "bare.pt"])
def test_every_form_of_ones_own_is_loaded(form: str, tmp_path: Path) -> None:
    if form in ("folder", "safetensors"):
        shutil.copy(miniature.SEGMENTER_WEIGHTS, tmp_path / "mine.safetensors")
        shutil.copy(CONFIG, tmp_path / "mine.yaml")
    else:
        torch.save(STATE if form == "bare.pt" else {"model": STATE, "epoch": 3}, tmp_path / "m.pt")
    named = {"folder": "", "safetensors": "mine.safetensors"}.get(form, "m.pt")
    config = None if form == "folder" else str(CONFIG)
    assert same_weights(load_model(str(tmp_path / named), CPU, config))


@pytest.mark.parametrize("name", HF_MODEL_ID_TO_FILENAMES)
def test_a_published_architecture_is_known_by_its_shapes(name: str) -> None:
    assert guess_published(build_public(name).state_dict()) == name


def test_weights_of_a_published_architecture_need_no_config(tmp_path: Path) -> None:
    name = "facebook/sam2.1-hiera-tiny"
    state = {key: torch.zeros(one.shape) for key, one in build_public(name).state_dict().items()}
    save_file(state, tmp_path / "tuned.safetensors")
    model = load_model(str(tmp_path), CPU)
    assert not model.image_encoder.trunk.patch_embed.proj.weight.any()


def test_the_first_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = dict(STATE)
    first, second, *_ = state
    state[first] = torch.zeros(1)
    del state[second]
    state["head.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(NotReady) as refused:
        load_model(str(tmp_path), CPU, str(CONFIG))
    for said in (f"{first} is (1,) and should be", f"{second} is missing", "head.weight is not"):
        assert said in str(refused.value)


class _Calls:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_nothing_in_a_file_of_weights_is_called(tmp_path: Path) -> None:
    mark = tmp_path / "called"
    torch.save({"model": _Calls(mark)}, tmp_path / "evil.pt")
    with pytest.raises(NotReady, match="more than tensors"):
        load_model(str(tmp_path / "evil.pt"), CPU, str(CONFIG))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Calls(mark), protocol=2))
    with pytest.raises(NotReady):
        load_model(str(tmp_path / "old.pt"), CPU, str(CONFIG))
    assert not mark.exists()


def test_a_config_builds_parts_of_sam2_alone(tmp_path: Path) -> None:
    mark = tmp_path / "called"
    config = tmp_path / "evil.yaml"
    config.write_text(
        f"model:\n  _target_: sam2.x.Y\n  a: [{{_target_: os.mkdir, path: {mark}}}]\n"
    )
    with pytest.raises(NotReady, match=r"builds 'os.mkdir'"):
        load_model(str(miniature.SEGMENTER_WEIGHTS), CPU, str(config))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "not a published size"),
        ("sam3", "neither a file nor one of"),
        ("facebook/sam2-hiera-tiny", "do not fit"),
        (os.devnull, "neither a file"),
    ],
)
def test_a_config_that_is_missing_or_wrong(config: str | None, says: str) -> None:
    with pytest.raises(NotReady, match=says):
        load_model(str(miniature.SEGMENTER_WEIGHTS), CPU, config)


def test_a_folder_must_have_one_file_of_weights(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="contains no weights"):
        load_model(str(tmp_path), CPU)
    for name in ("a.pt", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(NotReady, match=r"several possible files.*a\.pt, b\.safetensors"):
        load_model(str(tmp_path), CPU)
    with pytest.raises(NotReady, match=r"cannot be read|damaged"):
        load_model(str(tmp_path / "b.safetensors"), CPU)
    with pytest.raises(NotReady, match="has its own config"):
        load_model("miniature", CPU, str(CONFIG))
