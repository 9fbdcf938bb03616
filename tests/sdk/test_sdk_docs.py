"""Every example of the README and of the package's docstring runs as it stands."""

import ast
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import eval_data
import wise_client
from fakes import FakeReasoner, FakeSegmenter
from gateway_thread import GatewayThread
from scripted import ScriptedServer
from wise_client.cli.main import main

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


@pytest.fixture
def at_work(
    server: ScriptedServer, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with what the examples name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WISE_URL", server.url)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "pairs.jsonl").write_text('{"image": "photo.jpg", "query": "the cup"}\n')
    eval_data.plain(tmp_path / "labelled", [None])
    return tmp_path


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


def test_the_python_of_the_readme_runs(
    at_work: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = blocks("python")
    assert len(examples) >= 9
    with wise_client.Client(server.url, retry=wise_client.RetryPolicy(base_s=0)) as client:
        names: dict[str, object] = {}
        for number, example in enumerate(examples):
            code = example.replace("http://127.0.0.1:8000", server.url)
            exec(compile(code, f"README example {number}", "exec"), names)
            if number == 0:
                names["client"] = client  # the first example has closed its own
    names["client"].close()  # type: ignore[attr-defined]
    out = capsys.readouterr().out
    assert "Segmentation(found, 1 instance, 60x40, 6 thinking tokens, " in out
    assert "bright, so this is itbox (10.0, 5.0, 30.0, 25.0)" in out
    assert "failed: There is no file missing.jpg (invalid_input)" in out
    with Image.open(at_work / "photo.overlay.png") as overlay:
        assert overlay.size == (60, 40)


def test_the_clicks_of_the_readme_run(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.effect_noise((640, 480), 90).convert("RGB").save("photo.jpg")
    (example,) = blocks("python refine")
    fakes = FakeReasoner(), FakeSegmenter()
    with (
        GatewayThread(*fakes, ready=True, key=None) as gateway,
        wise_client.Client(gateway.url) as client,
    ):
        names: dict[str, Any] = {"client": client}
        exec(compile(example, "README, clicks", "exec"), names)
    assert names["final"].box == (120, 80, 310, 402)
    assert names["final"].instances[0].labels[-2:] == (1, 0)
    assert names["point"].mask[190, 200]
    assert not names["point"].mask[300, 250]
    assert capsys.readouterr().out == "[0.8, 0.7]\n"
    assert (fakes[1].opened, fakes[1].reopened) == (1, 6)


def test_the_package_docstring_runs(at_work: Path, server: ScriptedServer) -> None:
    text = wise_client.__doc__ or ""
    start, end = text.index("    from wise_client"), text.index("\n\n`wise_client.errors`")
    code = textwrap.dedent(text[start:end])
    exec(code.replace("http://127.0.0.1:8000", server.url), {})
    assert (at_work / "photo.overlay.png").exists()


def test_the_command_lines_of_the_readme_run(at_work: Path) -> None:
    (console,) = blocks("console")
    lines = [line.removeprefix("$ wise-segment ") for line in console.splitlines()]
    assert len(lines) == 7
    for line in lines:
        assert main(shlex.split(line)) == 0, line
    made = {path.name for path in at_work.iterdir()}
    assert made >= {
        "photo.overlay.png",
        "mask.png",
        "photo.json",
        "out.jsonl",
        "out.json",
        "answers.jsonl",
        "answers.yolo-seg",
        "report.html",
    }


def test_results_convert_to_supervision(at_work: Path, server: ScriptedServer) -> None:
    sv = pytest.importorskip("supervision")
    (example,) = blocks("python supervision")
    with wise_client.Client(server.url) as client:
        names: dict[str, object] = {"result": client.segment("photo.jpg", "the cup")}
        empty = client.segment("photo.jpg", "nothing").to_supervision()
    exec(example, names)
    detections = names["detections"]
    assert isinstance(detections, sv.Detections)
    assert detections.xyxy.tolist() == [[10, 5, 30, 25]]
    assert detections.mask.shape == (1, 40, 60)
    assert detections["class_name"].tolist() == ["the cup"]
    assert len(empty) == 0


def test_without_supervision_it_says_what_to_install(
    at_work: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with wise_client.Client(server.url) as client:
        result = client.segment("photo.jpg", "the cup")
    with pytest.raises(ImportError, match=r"pip install wise-client\[supervision\]"):
        result.to_supervision()


def public_names(node: ast.AST, before: str) -> Iterator[tuple[str, str | None]]:
    """Every public class, function and method below `node`, with its docstring."""
    for one in getattr(node, "body", []):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(one, kinds) and not one.name.startswith("_"):
            name = f"{before}.{one.name}"
            yield name, ast.get_docstring(one)
            if isinstance(one, ast.ClassDef):
                yield from public_names(one, name)


def test_every_public_name_has_a_docstring() -> None:
    package = Path(wise_client.__file__).parent
    names = {
        name: text
        for path in sorted(package.rglob("*.py"))
        for name, text in public_names(ast.parse(path.read_text("utf-8")), path.stem)
    }
    assert len(names) > 300
    assert [name for name, text in names.items() if not text] == []
