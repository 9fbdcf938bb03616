"""Native libraries: whether the compiled parts of torch, vLLM and SAM 2 can be loaded here.

A wheel may be linked to libraries that the system must provide. If one is missing, vLLM only logs
that, and fails much later with a message that does not name the library.

`python -m wise_serve.preflight.native` runs `ldd` over every shared library of the environment;
`make setup` ends with it.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from wise_serve.preflight.checks import Check, Machine

# The Debian (and Ubuntu) package of each library that one of the dependencies is linked to.
DEBIAN_PACKAGES: Final = {
    "libnuma.so.1": "libnuma1",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "libz.so.1": "zlib1g",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libssl.so.3": "libssl3",
    "libffi.so.8": "libffi8",
    "libcuda.so.1": "NVIDIA's driver, as installed for this GPU",
}
# Not needed: numba uses its own threads if those of TBB are missing.
OPTIONAL: Final = frozenset({"libtbb.so.12"})
# With a CPU build of torch, torchvision's own operators, which are built for CUDA, stay unused
# (docs/decisions/0002).
CUDA: Final = re.compile(r"lib(torch_cuda|c10_cuda|cuda|cudart|nv\w+|cu\w+)\.so(\.\d+)*")
# NVIDIA's packages contain plugins for networks (MPI, InfiniBand) that only clusters have.
# torchcodec reads sound and video, which nothing here does, and contains one build for each version
# of FFmpeg; vLLM and transformers go on without it.
SKIPPED_FOLDERS: Final = ("nvidia", "torchcodec")
# Not there where an environment is prepared on a machine without a GPU.
DRIVER: Final = frozenset({"libcuda.so.1"})
IMPORT_DEADLINE_S: Final = 120.0
# vLLM chooses a build of its C library by the processor; `import_kernels` only logs a failure.
ENGINE: Final = "import vllm; from vllm.platforms import current_platform as p; p.import_kernels()"
SEGMENTER: Final = "import torch, torchvision, sam2.build_sam, pycocotools.mask, cv2"
_NOT_OPENED = re.compile(r"([\w.+-]+\.so[.\d]*): cannot open shared object file")
_NOT_FOUND = re.compile(r"^\s+(\S+) => not found$")
_LDD_FILES: Final = 100  # a call


def native_libraries(machine: Machine) -> Check:
    """Import the engine's and the segmenter's native parts, each in a process of its own."""
    parts = {"engine": ENGINE, "segmenter": SEGMENTER}
    if not machine.reasons:
        del parts["engine"]
    for part, code in parts.items():
        if problem := import_problem(code):
            return _failure(f"the {part}'s: {problem}", missing_from(problem))
    loaded = " and ".join(f"the {part}'s" for part in parts)
    return Check("libraries", "ok", f"{loaded} load")


def import_problem(code: str) -> str:
    """Why `code` cannot load its libraries, in one line; '' if it can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=IMPORT_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not imported within {IMPORT_DEADLINE_S:.0f} s"
    if found := _NOT_OPENED.search(done.stderr):
        return found[0]
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1] if done.returncode else ""


def missing_from(problem: str) -> str | None:
    """The name of the library that a loader's message says is missing."""
    found = _NOT_OPENED.search(problem)
    return found[1] if found else None


def advice_for(library: str) -> str:
    """What to install for a missing library."""
    package = DEBIAN_PACKAGES.get(library)
    if package is None:
        return (
            f"Install the system package that holds {library} (Debian: apt-file search {library})."
        )
    if " " in package:
        return f"{library} comes with {package}."
    return f"Install {library}: apt-get install {package}"


def _failure(found: str, library: str | None) -> Check:
    advice = "Install wise-serve's packages again." if library is None else advice_for(library)
    return Check("libraries", "failure", found, advice)


def missing_libraries(folder: Path) -> dict[str, list[Path]]:
    """Libraries that the loader does not find, each with the files below `folder` that need it.

    A library inside a package below `folder` counts as found: packages load their own first.
    """
    there = [path for path in sorted(folder.rglob("*.so*")) if path.is_file()]
    known = {path.name for path in there} | OPTIONAL
    files = [p for p in there if p.relative_to(folder).parts[0] not in SKIPPED_FOLDERS]
    on_cpu = "libtorch_cuda.so" not in known
    missing: dict[str, list[Path]] = {}
    for start in range(0, len(files), _LDD_FILES):
        current = Path()
        names = [str(path) for path in files[start : start + _LDD_FILES]]
        done = subprocess.run(["ldd", *names], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            if not line.startswith(("\t", " ")):
                current = Path(line.rstrip(":"))
            elif (found := _NOT_FOUND.match(line)) and not (
                found[1] in known or (on_cpu and CUDA.fullmatch(found[1]))
            ):
                missing.setdefault(found[1], []).append(current)
    return missing


def main() -> int:
    """Print every missing library of this environment; the exit status is 1 if there is one that
    a package of the system brings (the GPU's driver is reported alone)."""
    folder = Path(sysconfig.get_path("platlib"))
    missing = missing_libraries(folder)
    for library, files in missing.items():
        first = files[0].relative_to(folder)
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        print(f"missing library {library}, for {first}{more}\n  -> {advice_for(library)}")
    if not missing:
        print("Every shared library of the installed packages is found.")
    return int(bool(missing.keys() - DRIVER))


if __name__ == "__main__":
    sys.exit(main())
