"""The README's file tree: a line a file, taken from each file's first line of documentation.

`python docs/tree.py` rewrites the marked region; tests/unit/test_docs.py holds it to be current.
"""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- tree: begin -->", "<!-- tree: end -->"
SHOWN = ("server/", "clients/python/src/", "benchmarks/", "deploy/", "docs/")
DATA = (".typed", ".png", ".jpg")
WITHOUT_LINES = {
    "Makefile": "every command; `make help`",
    "pyproject.toml": "packages, extras, settings of the tools",
    "constraints.txt": "every version, pinned; `make constraints`",
    ".ci/run": "what CI runs: system packages, then `make test`",
    "Dockerfile": "the CPU and the GPU image",
    "docker-compose.yml": "gateway, Prometheus and Grafana together",
    "CHANGELOG.md": "what changed",
    "server/wise_mini/weights/": "the trained miniature pair",
    "tests/": "unit, http, process, sdk, browser, deploy, e2e",
}


def tracked() -> list[str]:
    """Paths of the files in the repository and of new ones, sorted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted(path for path in listed.stdout.split("\n") if path and (ROOT / path).exists())


def first_line(path: Path) -> str:
    """What the file says of itself first."""
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
    elif path.suffix == ".md":
        said = next((line for line in path.read_text().splitlines() if line.strip()), "")
    else:
        comments = re.findall(r"^\s*#\s+(.+)$", path.read_text(errors="replace"), re.MULTILINE)
        said = comments[0] if comments and path.suffix in (".yml", ".yaml") else ""
    return said.strip().lstrip("# ").split("\n")[0].rstrip(".:")


def tree() -> str:
    """The region's text."""
    lines = ["```"]
    folder = ""
    for path in sorted(tracked(), key=lambda path: path.rpartition("/")):
        if not path.startswith(SHOWN) or path.endswith(DATA) or "/weights/" in path:
            continue
        parent, _, name = path.rpartition("/")
        line = first_line(ROOT / path)
        if name == "__init__.py" and not line:
            continue
        if parent != folder:
            lines.append(f"{parent}/")
            folder = parent
        lines.append(f"  {name:<26} {line}".rstrip())
    named = [(name, line) for name, line in WITHOUT_LINES.items() if (ROOT / name).exists()]
    lines += [f"{name:<28} {line}" for name, line in named]
    return "\n".join([*lines, "```"])


def rewritten(text: str) -> str:
    """The README with its region made anew."""
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{tree()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text()))
