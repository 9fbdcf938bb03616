"""Reads a Dockerfile as far as ours goes: stages, and instructions with continuation lines."""

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


@dataclass
class Stage:
    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [item.text for item in self.instructions if item.name == name]


@dataclass
class Dockerfile:
    arguments: dict[str, str]  # before the first FROM
    stages: dict[str, Stage]


def read(path: Path) -> Dockerfile:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = Dockerfile({}, {})
    stage: Stage | None = None
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        name, text = line.split(maxsplit=1)
        if name == "FROM":
            base, _, alias = text.split()
            stage = found.stages[alias] = Stage(alias, base)
        elif stage is None:
            assert name == "ARG"
            key, value = text.split("=", 1)
            found.arguments[key] = value
        else:
            stage.instructions.append(Instruction(name, text))
    return found
