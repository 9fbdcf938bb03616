"""Where the weights of a checkpoint are found, and what is advised if they are not."""

from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from wise_serve import downloads
from wise_serve.preflight.weights import WeightsError, find_weights


def test_weights_in_a_folder_and_weights_that_are_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").write_bytes(bytes(70))
    (tmp_path / "b.safetensors").write_bytes(bytes(30))
    (tmp_path / "same.bin").write_bytes(bytes(100))
    assert find_weights(str(tmp_path), tmp_path).size_bytes == 100
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "missing" / "x"), "miniature"):
        with pytest.raises(WeightsError) as caught:
            find_weights(name, tmp_path / "nothing")
        assert caught.value.advice

    def not_cached(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("x")

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(downloads, "snapshot_download", not_cached)
    monkeypatch.setattr("wise_serve.preflight.weights.HfApi.model_info", no_network)
    with pytest.raises(WeightsError, match="ConnectionError") as caught:
        find_weights("a/b", tmp_path)
    assert "Offline install" in caught.value.advice
