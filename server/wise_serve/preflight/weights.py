"""Where a checkpoint's weights are (package, folder, cache or hub), and how large they are."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError

from wise_serve.downloads import Checkpoint, cached_folder
from wise_serve.hub import explain
from wise_serve.settings import MINIATURE

# A repository may hold the same weights in several formats: the first of these counts.
_ENDINGS = (".safetensors", ".pt", ".bin")
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that were found. size_bytes: of the weight files only. where: for the report."""

    size_bytes: int
    where: str


class WeightsError(Exception):
    """The weights cannot be found. `advice`: what to change."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def find_weights(name: str, miniature: Path, on_hub: Checkpoint | None = None) -> Weights:
    """Find the weights of `name`: 'miniature', a file, a folder, or a hub name.

    `miniature`: the path with which the miniature's weights start. `on_hub`: which files of the hub
    name the server downloads; None: all. The hub is asked only for what is not on this machine;
    that may take seconds. Raises WeightsError.
    """
    if name == MINIATURE:
        paths = [miniature] if miniature.is_dir() else miniature.parent.glob(f"{miniature.name}*")
        size = sum(_size(path) for path in paths)
        return _some(size, "in the package", "The package is incomplete: install it again.")
    if Path(name).is_file():
        return _some(_size(Path(name)), "a file", "The file is empty: download it again.")
    if Path(name).is_dir():
        return _some(_size(Path(name)), "a folder", "Name a folder that holds *.safetensors.")
    checkpoint = on_hub or Checkpoint(name)
    try:
        cached = cached_folder(checkpoint)
    except HFValidationError as error:
        raise _failed(error) from None
    if cached is None:
        return _on_hub(checkpoint)
    size = _size(cached, checkpoint)
    return _some(size, "in the hub's cache", f"Download it again: hf download {name}")


def _size(path: Path, checkpoint: Checkpoint | None = None) -> int:
    if path.is_file():
        return path.stat().st_size
    files = {item.name: item.stat().st_size for item in path.iterdir() if item.is_file()}
    return _weight_files(files, checkpoint)


def _weight_files(files: dict[str, int], checkpoint: Checkpoint | None = None) -> int:
    """Bytes of the weight files; of those that the model reads, if that is known."""
    names = [name for name in files if checkpoint is None or checkpoint.reads(name)]
    for ending in _ENDINGS:
        if sizes := [files[name] for name in names if name.endswith(ending)]:
            return sum(sizes)
    return 0


def _some(size_bytes: int, where: str, advice: str) -> Weights:
    if not size_bytes:
        raise WeightsError(f"no weight files ({', '.join(_ENDINGS)}) {where}", advice)
    return Weights(size_bytes, where)


def _on_hub(checkpoint: Checkpoint) -> Weights:
    try:
        info = HfApi().model_info(
            checkpoint.name,
            revision=checkpoint.revision,
            files_metadata=True,
            timeout=_TIMEOUT_S,
        )
    except Exception as error:  # of several libraries, as the network fails in many ways
        raise _failed(error) from None
    files = {item.rfilename: item.size or 0 for item in info.siblings or ()}
    size = _weight_files(files, checkpoint)
    return _some(size, "on the hub, to be downloaded", "Choose another checkpoint.")


def _failed(error: Exception) -> WeightsError:
    failure = explain(error)
    return WeightsError(failure.found, failure.advice)
