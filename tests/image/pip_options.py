"""Prints `buildah bud`'s options, one a line, that give a build this machine's pip configuration.

`python pip_options.py FILE` writes FILE, pip's configuration as it holds here (its files and PIP_*
in the environment), and mounts it as the build's /etc/pip.conf, with every file and folder on this
machine that it names.
"""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

INDEX_OPTIONS: Final = ("index-url", "extra-index-url")


def main() -> None:
    settings = read(pip_config())
    target = Path(sys.argv[1])
    lines = [f"{name} = " + "\n    ".join(value.split()) for name, value in settings.items()]
    target.write_text("\n".join(["[global]", *lines, ""]))
    mounts = {(str(target), "/etc/pip.conf")} | {(path, path) for path in named_paths(settings)}
    for source, destination in sorted(mounts):
        print("--volume")
        print(f"{source}:{destination}:ro")


def pip_config() -> list[str]:
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def read(lines: list[str]) -> dict[str, str]:
    """Option to value, from lines such as `global.find-links='/folder'`."""
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        _level, _, name = key.rpartition(".")
        if name != "require-virtualenv":
            found[name] = ast.literal_eval(value)
    return found


def named_paths(settings: dict[str, str]) -> set[str]:
    """Existing files and folders that the values name, as paths or as file: URLs. Of an index its
    parent folder: its pages link to files that lie next to it."""
    found = set()
    for name, value in settings.items():
        for word in value.split():
            url = urlsplit(word)
            path = Path(unquote(url.path) if url.scheme == "file" else word)
            if path.is_absolute() and path.exists():
                found.add(str(path.parent if name in INDEX_OPTIONS else path))
    return found


if __name__ == "__main__":
    main()
