"""Puts what `make gpu` needs on a bare node into one folder, for its Python and x86-64.

The node already has torch, torchvision, transformers and their dependencies. Packages that are
published only as source are pure Python: they are copied from this environment.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

WHEELS = (
    *("annotated-doc", "annotated-types", "anyio", "blake3", "dashscope", "fastapi"),
    *("fastapi-offline", "h11", "httpcore", "httpx", "hydra-core", "idna", "msgspec", "omegaconf"),
    *("opentelemetry-api", "orjson", "pillow", "portalocker", "prometheus-client", "psutil"),
    *("pycocotools", "pydantic", "pydantic-core", "pydantic-settings", "python-dotenv"),
    *("python-multipart", "sniffio", "starlette", "tiktoken", "tqdm", "typing-extensions"),
    *("typing-inspection", "uvicorn"),
)
COPIED = ("antlr4", "iopath", "sam2", "sam2_configs")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="an existing one is replaced")
    parser.add_argument("python", help="the machine's version, such as 3.12")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    root = Path(__file__).parents[1]
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_x86_64")]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--implementation", "cp", *platforms),
            *("--python-version", args.python, "--target", str(args.folder)),
            *("--constraint", str(root / "constraints.txt"), *WHEELS),
        ],
        check=True,
    )
    for name in COPIED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            shutil.copytree(spec.submodule_search_locations[0], args.folder / name)
    size = sum(path.stat().st_size for path in args.folder.rglob("*") if path.is_file())
    print(f"{args.folder}: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
