"""Lets `import torchvision` succeed with a torch for which it was not built.

The registry's torchvision wheel is built for CUDA. With a CPU-only torch its compiled operators do
not load, and its import then fails with "operator torchvision::nms does not exist", although
nothing served here calls them: vLLM's Qwen-VL classes and `sam2.utils.transforms` only import it.
Declaring the two operators' schemas is enough for the import.

torch calls `define_missing_operators` at the end of its own import, in every process, through the
entry point group `torch.backends` (vLLM's child processes included). See
docs/decisions/0002-torchvision-beside-cpu-torch.md.
"""

import importlib.util
from pathlib import Path

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: object | None = None  # torch drops a library's operators when it is collected


def define_missing_operators() -> None:
    """Declare `torchvision::nms` and `torchvision::qnms` unless the real operators load.

    Does nothing if torch is built for a GPU: the published torchvision is built for that.
    """
    global _library
    import torch

    if torch.version.cuda or torch.version.hip:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    # `_C.so` up to torchvision 0.28, `_C_stable.so` since.
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))
            return
        except OSError:
            pass  # built for another torch: fall through to the schemas
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)
    _library = library
