"""The gateway is tested without the models' packages, so it must not import them."""

import subprocess
import sys
from typing import Final

import pytest

LIGHT: Final = ("wise_serve.http.app", "wise_serve.server.serving", "wise_serve.cli.main")


@pytest.mark.parametrize("module", LIGHT)
def test_the_gateway_imports_neither_torch_nor_vllm(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(sorted({'torch', 'vllm', 'sam2', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
