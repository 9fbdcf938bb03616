"""The gateway is tested without the models' packages, so it must not import them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["wise_serve.app", "wise_serve.serving", "wise_serve.cli"])
def test_neither_torch_nor_vllm(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(sorted({'torch', 'vllm', 'sam2', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
