"""Nothing here runs what it reads: no pickle, no remote code, no evaluation, weights as tensors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted([*ROOT.glob("server/**/*.py"), *ROOT.glob("clients/python/src/**/*.py")])

# These unpickle, or carry code; `multiprocessing` does so in its queues and pipes.
MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal",
    "jsonpickle", "multiprocessing",
}  # fmt: skip
ANSWERED = {
    # RefCOCO is published as a pickle; its reader makes plain containers of it, and nothing else.
    "clients/python/src/wise_client/eval/refcoco.py": {"import pickle"},
    # The name of the error that `weights_only` raises; nothing is unpickled with it.
    "server/wise_serve/segmenter/sam2/own.py": {"import pickle"},
    # Asks who started this process; no queue, no pipe.
    "server/wise_serve/processes.py": {"import multiprocessing"},
    # The engine's arguments that cannot be set, each with the reason.
    "server/wise_serve/reasoner/engine_args.py": {"trust_remote_code is not False"},
}
CALLS = {"eval", "exec", "compile", "__import__"}
LOADERS = {  # a call's name -> the keyword it must have, and its value
    ("torch", "load"): ("weights_only", True),
}
NEVER_TRUE = {"trust_remote_code", "allow_pickle", "shell"}


def faults(tree: ast.AST) -> Iterator[str]:
    """What must not be, as `line: what`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                for name in names:
                    if name.name.partition(".")[0] in MODULES:
                        yield f"{node.lineno}: import {name.name}"
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                yield f"{node.lineno}: from {module}"
            case ast.ImportFrom(module="torch", names=names):
                if "load" in {name.name for name in names}:
                    yield f"{node.lineno}: from torch import load"
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"{node.lineno}: {name}()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                yield from _loader(node, owner, name)
            case ast.Dict(keys, values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in NEVER_TRUE:
                        yield from _not_false(str(key.value), value)
            case ast.keyword(arg=str(name), value=value) if name in NEVER_TRUE:
                yield from _not_false(name, value)


def _loader(node: ast.Call, owner: str, name: str) -> Iterator[str]:
    if wanted := LOADERS.get((owner, name)):
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if given.get(wanted[0]) is not wanted[1]:
            yield f"{node.lineno}: {owner}.{name} without {wanted[0]}={wanted[1]}"
    if (owner, name) in {("yaml", "load"), ("os", "system"), ("np", "load"), ("numpy", "load")}:
        yield f"{node.lineno}: {owner}.{name}"


def _not_false(name: str, value: ast.expr) -> Iterator[str]:
    if not (isinstance(value, ast.Constant) and value.value is False):
        yield f"{value.lineno}: {name} is not False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_uses_what_is_unsafe(path: Path) -> None:
    found = {fault.partition(": ")[2] for fault in faults(ast.parse(path.read_text()))}
    assert found == ANSWERED.get(path.relative_to(ROOT).as_posix(), set())


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import multiprocessing.connection",
        "from cloudpickle import loads",
        "from torch import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "arguments = {'trust_remote_code': chosen}",
        "np.load(path)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_check_sees_each_unsafe_use(text: str) -> None:
    assert list(faults(ast.parse(text)))


def test_remote_code_is_turned_off_by_name() -> None:
    rooms = (ROOT / "server" / "wise_serve" / "reasoner" / "inside_vllm").glob("*.py")
    text = "".join(one.read_text() for one in rooms)
    assert '"trust_remote_code": False' in text


def test_packaged_weights_are_safetensors() -> None:
    weights = list((ROOT / "server" / "wise_serve" / "miniature" / "weights").rglob("*"))
    large = {path.suffix for path in weights if path.is_file() and path.stat().st_size > 100_000}
    assert large == {".safetensors"}
