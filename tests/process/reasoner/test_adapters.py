"""What is said about a LoRA adapter before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapter_files import RANK, write_adapter
from wise_serve.cli.main import main
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.preflight import report
from wise_serve.preflight.checks import Check
from wise_serve.reasoner.adapters import CONFIG, WEIGHTS, AdapterError, engine_rank, read_adapters
from wise_serve.reasoner.strategies import STRATEGIES, StrategyError, load_strategies
from wise_serve.reasoner.strategies.files import shipped_file
from wise_serve.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "tuned")
    return tmp_path / "tuned"


def given(folder: Path) -> Settings:
    return Settings(reasoner_lora=(f"mine={folder}",))


def mistake(folder: Path) -> str:
    with pytest.raises(AdapterError) as raised:
        read_adapters(given(folder), REASONER_FOLDER)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_adapter_of_the_reasoner_is_read(folder: Path) -> None:
    [adapter] = read_adapters(given(folder), REASONER_FOLDER).values()
    assert (adapter.name, adapter.path, adapter.rank) == ("mine", folder, RANK)
    assert read_adapters(Settings(), REASONER_FOLDER) == {}


def test_the_engine_is_made_for_the_largest_rank(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b", rank_pattern={"q_proj": 20})
    both = Settings(reasoner_lora=(f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"))
    assert engine_rank(read_adapters(both)) == 32
    assert engine_rank(read_adapters(given(tmp_path / "a"))) == 8


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 0}, "rank"),
        ({"r": 513}, "512"),
        ({"r": 2}, "rank 2"),
        ({"peft_type": "IA3"}, "not the config"),
        ({"lora_bias": True}, "lora_bias"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"init_lora_weights": "pissa"}, "'pissa'"),
        ({"init_lora_weights": "PiSSA_niter_4"}, "'PiSSA_niter_4'"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_a_config_that_vllm_cannot_serve_is_named(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    write_adapter(tmp_path, **fields)
    assert told in (found := mistake(tmp_path))
    assert str(tmp_path) in found


@pytest.mark.parametrize("field", ["r", "lora_alpha", "target_modules"])
def test_a_field_that_vllm_requires_is_named(folder: Path, field: str) -> None:
    config = json.loads((folder / CONFIG).read_text())
    del config[field]
    (folder / CONFIG).write_text(json.dumps(config))
    assert field in (found := mistake(folder))
    assert str(folder / CONFIG) in found


@pytest.mark.parametrize("initialization", [True, False, None, "gaussian", "EVA"])
def test_an_initialization_that_keeps_the_checkpoint_is_served(
    tmp_path: Path, initialization: bool | str | None
) -> None:
    write_adapter(tmp_path, init_lora_weights=initialization, layer_replication=None)
    assert read_adapters(given(tmp_path), REASONER_FOLDER)


def test_files_that_are_missing_or_damaged_are_named(folder: Path) -> None:
    assert "no folder" in mistake(folder / "nowhere")
    (folder / WEIGHTS).write_bytes(b"\x05")
    assert f"{folder / WEIGHTS}: not a safetensors file" in mistake(folder)
    (folder / WEIGHTS).unlink()
    assert f"{folder / WEIGHTS}: No such file" in mistake(folder)
    (folder / CONFIG).write_text("{")
    assert f"{folder / CONFIG}: not JSON" in mistake(folder)
    (folder / CONFIG).unlink()
    assert f"{folder / CONFIG}: No such file" in mistake(folder)


@pytest.mark.parametrize(
    ("tensor", "shape", "told"),
    [
        ("model.language_model.layers.0.self_attn.q_proj", (RANK, 64), "another checkpoint"),
        ("model.language_model.layers.9.self_attn.q_proj", (RANK, 192), "does not have"),
        ("model.visual.blocks.0.attn.qkv", (RANK, 128), "language model's layers"),
        ("lm_head", (RANK, 192), "language model's layers"),
    ],
)
def test_a_tensor_that_fits_nothing_is_named(
    folder: Path, tensor: str, shape: tuple[int, int], told: str
) -> None:
    name = f"base_model.model.{tensor}.lora_A.weight"
    tensors = load_file(folder / WEIGHTS) | {name: torch.zeros(shape)}
    save_file(tensors, folder / WEIGHTS)
    assert told in (found := mistake(folder))
    assert name in found


def test_a_quantized_reasoner_is_not_compared(folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    packed = load_file(REASONER_FOLDER / "model.safetensors")
    packed["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(4, 1)
    save_file(packed, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"quantization_config": {}}))
    assert read_adapters(given(folder), base)
    (base / "config.json").write_text("{}")
    with pytest.raises(AdapterError, match="another checkpoint"):
        read_adapters(given(folder), base)


def test_the_preflight_reports_adapters_and_their_errors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Check("native libraries", "ok", "not imported here, which takes seconds")
    monkeypatch.setattr(report, "native_libraries", lambda machine: loaded)
    checks = {check.name: check for check in report.preflight(given(folder), STRATEGIES)}
    assert checks["LoRA adapters"].found == f"mine (rank {RANK})"
    (folder / CONFIG).unlink()
    checks = {check.name: check for check in report.preflight(given(folder), STRATEGIES)}
    assert checks["LoRA adapters"].outcome == "failure"
    assert CONFIG in checks["LoRA adapters"].found


def test_a_strategy_needs_the_adapter_that_it_names(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    asked = json.loads(shipped_file("wise-s")) | {"name": "mine", "lora": "tuned"}
    file.write_text(json.dumps(asked))
    named = ("--reasoner-lora", f"tuned={folder}")
    settings = Settings(strategy_file=(str(file),), reasoner_lora=named[1:])
    assert load_strategies(settings)["mine"].lora == "tuned"
    with pytest.raises(StrategyError, match=r"no adapter 'tuned' .* names none"):
        load_strategies(Settings(strategy_file=(str(file),)))
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--strategy-file", str(file), "--reasoner-lora", f"other={folder}"])
    assert ended.value.code == 2
    assert "which names other" in capsys.readouterr().err


@pytest.mark.parametrize("values", [("mine",), ("=a",), ("a=",), ("A b=c",), ("a=x", "a=y")])
def test_a_value_that_is_no_name_and_path_is_refused(
    values: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [part for value in values for part in ("--reasoner-lora", value)]
    with pytest.raises(SystemExit) as ended:
        main(["serve", *flags])
    assert ended.value.code == 2
    assert "--reasoner-lora: " in capsys.readouterr().err
