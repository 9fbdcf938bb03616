"""A strategy's image against the limits of a checkpoint's preprocessor."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from wise_serve.cli.main import main
from wise_serve.contract.errors import NotReady
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.preflight import report
from wise_serve.preflight.checks import Check
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.strategies.files import read_shipped, shipped_names
from wise_serve.reasoner.strategies.pixels import PixelLimits, limits_of, misfits
from wise_serve.reasoner.strategies.strategy import AspectImage, SquareImage
from wise_serve.settings import Settings

# preprocessor_config.json of huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct and Qwen3-VL-8B-Instruct
QWEN25 = {"min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14, "merge_size": 2}
QWEN3 = {
    "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
    "patch_size": 16,
    "merge_size": 2,
}
SMALL = QWEN25 | {"max_pixels": 401_408}


def checkpoint(folder: Path, config: Any, name: str = "preprocessor_config.json") -> str:
    (folder / name).write_text(json.dumps(config))
    return str(folder)


def test_limits_are_read_in_either_form(tmp_path: Path) -> None:
    assert limits_of(checkpoint(tmp_path, QWEN25)) == PixelLimits(3136, 12_845_056, 28)
    assert limits_of(checkpoint(tmp_path, QWEN3)) == PixelLimits(65_536, 16_777_216, 32)


def test_limits_are_read_from_the_processors_file_too(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"image_processor": QWEN3}, "processor_config.json")
    assert limits_of(folder) == PixelLimits(65_536, 16_777_216, 32)


@pytest.mark.parametrize(
    ("changed", "limits"),
    [
        ({"max_pixels": 1_003_520}, PixelLimits(3136, 1_003_520, 28)),
        ({"size": {"shortest_edge": 4000, "longest_edge": 5000}}, PixelLimits(4000, 5000, 28)),
    ],
)
def test_the_engines_arguments_change_them(
    tmp_path: Path, changed: dict[str, Any], limits: PixelLimits
) -> None:
    folder = checkpoint(tmp_path, QWEN25)
    assert limits_of(folder, {"mm_processor_kwargs": changed}) == limits


@pytest.mark.parametrize("config", [{}, [], {"size": 224}, QWEN25 | {"max_pixels": "many"}])
def test_an_unknown_preprocessor_config_sets_no_limits(tmp_path: Path, config: Any) -> None:
    assert limits_of(checkpoint(tmp_path, config)) is None
    assert limits_of("nobody/has-this") is None
    assert limits_of("not a name at all") is None


def test_every_shipped_strategy_fits_the_published_checkpoints(tmp_path: Path) -> None:
    for name in shipped_names():
        limits = limits_of(checkpoint(tmp_path, QWEN3 if "qwen3" in name else QWEN25))
        assert limits is not None
        assert misfits(read_shipped(name), limits) == []


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (AspectImage(least_pixels=784, most_pixels=401_408), "least_pixels is 784"),
        (AspectImage(least_pixels=3136, most_pixels=401_409), "shrinks images to 401408"),
        (
            AspectImage(least_pixels=3136, most_pixels=401_408, multiple_pixels=32),
            "multiple_pixels is 32",
        ),
        (SquareImage(square_pixels=840), "squares of 56 to 616 pixels"),
        (SquareImage(square_pixels=28), "squares of 56 to 616 pixels"),
    ],
)
def test_an_image_that_would_be_resized_once_more_is_named(
    tmp_path: Path, image: AspectImage | SquareImage, told: str
) -> None:
    limits = limits_of(checkpoint(tmp_path, SMALL))
    assert limits is not None
    (line,) = misfits(STRATEGIES["wise-s"].model_copy(update={"image": image}), limits)
    assert told in line


def test_a_square_of_another_side_is_checked_in_its_place() -> None:
    limits = limits_of(str(REASONER_FOLDER))
    assert limits == PixelLimits(50_176, 50_176, 28)
    assert misfits(STRATEGIES["wise-s"], limits, 224) == []
    assert misfits(STRATEGIES["wise-s"], limits)


@pytest.mark.parametrize("side", range(28, 900, 4))
def test_a_square_that_fits_is_left_to_the_preprocessors_rounding(side: int) -> None:
    limits = PixelLimits(3136, 401_408, 28)
    strategy = STRATEGIES["wise-s"].model_copy(update={"image": SquareImage(square_pixels=side)})
    resized = smart_resize(side, side, 28, limits.least_pixels, limits.most_pixels)
    assert (resized == (round(side / 28) * 28,) * 2) == (not misfits(strategy, limits))


async def test_the_start_fails_for_the_strategy_that_was_asked_for(tmp_path: Path) -> None:
    settings = Settings(reasoner=checkpoint(tmp_path, SMALL), device="cpu")
    with pytest.raises(NotReady, match=r"'wise-s' does not fit .*squares of 56 to 616 pixels"):
        await VllmReasoner(settings, STRATEGIES).start()


@pytest.mark.parametrize(
    ("flags", "outcome", "told"),
    [
        (["--reasoner-image-size-pixels", "560"], "ok", "resizes no strategy's image"),
        ([], "failure", "'wise-s' does not fit"),
        (["--strategy", "qwen2.5-vl"], "failure", "'qwen2.5-vl' does not fit"),
        (["--strategy", "mine"], "warning", "'wise-s' does not fit"),
        (["--engine-args", '{"mm_processor_kwargs": {"max_pixels": 900000}}'], "ok", "resizes no"),
        (["--engine-args", "{"], "ok", "not compared"),
        (["--reasoner", "nobody/has-this"], "ok", "not compared"),
        (["--reasoner", "none"], "ok", "no reasoner"),
        (["--reasoner", "miniature"], "ok", "resizes no strategy's image"),
    ],
)
def test_the_preflight_finds_what_would_end_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    outcome: str,
    told: str,
) -> None:
    loaded = Check("native libraries", "ok", "not imported here, which takes seconds")
    monkeypatch.setattr(report, "native_libraries", lambda machine: loaded)
    mine = read_shipped("wise-s").model_copy(
        update={"name": "mine", "image": SquareImage(square_pixels=560)}
    )
    file = tmp_path / "mine.json"
    file.write_text(mine.model_dump_json(exclude_none=True))
    folder = checkpoint(tmp_path, SMALL)
    main(["check", "--json", "--strategy-file", str(file), "--reasoner", folder, *flags])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    found = checks["image sizes"]
    assert (found["outcome"], told in found["found"]) == (outcome, True), found
    assert bool(found["advice"]) == (outcome != "ok")


def test_check_says_whether_a_file_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.json"
    file.write_text(read_shipped("qwen2.5-vl").model_dump_json(exclude_none=True))
    folder = checkpoint(tmp_path, QWEN25)
    assert main(["strategies", "check", str(file), "--reasoner", folder]) == 0
    checkpoint(tmp_path, SMALL)
    assert main(["strategies", "check", str(file), "--reasoner", folder]) == 1
    assert "image.most_pixels is 1605632" in capsys.readouterr().err
    assert main(["strategies", "check", str(file), "--reasoner", "miniature"]) == 1
    assert main(["strategies", "check", str(file), "--reasoner", "nobody/has-this"]) == 1
    assert "no preprocessor_config.json" in capsys.readouterr().err
