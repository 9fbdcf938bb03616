"""The gateway starts without torch: torch is imported when the engine starts, never before."""

import subprocess
import sys

HEAVY = "{'torch', 'vllm', 'sam2', 'transformers'}"


def loaded_after(code: str) -> str:
    """Which of the heavy packages a fresh Python has imported after `code`."""
    program = f"import sys\n{code}\nprint(sorted({HEAVY} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return ran.stdout.strip()


def test_the_gateway_is_composed_and_its_application_built_without_torch() -> None:
    code = """
from wise_serve.cli.main import main
from wise_serve.compose import compose
from wise_serve.http.app import build_app
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.server import serving
from wise_serve.settings import Settings
build_app(compose(Settings(), STRATEGIES))
"""
    assert loaded_after(code) == "[]"


def test_asking_for_the_device_imports_no_torch() -> None:
    code = "from wise_serve import device; from wise_serve.settings import Settings\n"
    assert loaded_after(code + "device.device_of(Settings())") == "[]"


def test_check_loads_neither_torch_nor_vllm() -> None:
    code = (
        "import sys, wise_serve.preflight.report; "
        "print(sorted({'torch', 'vllm', 'sam2', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
