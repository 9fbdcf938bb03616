"""Strategies as files: what is accepted, and that every mistake is reported."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import strategy_schema
from wise_serve.cli.main import main
from wise_serve.reasoner.strategies import STRATEGIES, StrategyError, load_strategies
from wise_serve.reasoner.strategies.files import read_shipped, read_strategy, shipped_names
from wise_serve.settings import Settings

MINE: dict[str, Any] = {
    "name": "mine",
    "turn": {"template": "Find {question}.", "example": ""},
    "image": {"least_pixels": 3136, "most_pixels": 1003520},
    "coordinates": {"frame": "image"},
    "answer": {"tags": "none", "boxes": ["region"]},
    "max_tokens": 128,
}


def changed(**fields: Any) -> str:
    return json.dumps({**MINE, **fields})


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(StrategyError) as refused:
        read_strategy(text, "mine.json")
    return refused.value.mistakes


def written(folder: Path, text: str, name: str = "mine.json") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_the_schema_is_up_to_date() -> None:
    assert strategy_schema.FILE.read_text() == strategy_schema.schema()


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_file_keeps_to_the_schema_and_has_its_name(name: str) -> None:
    file = strategy_schema.FILE.with_name("shipped") / f"{name}.json"
    jsonschema.validate(json.loads(file.read_text()), json.loads(strategy_schema.schema()))
    strategy = read_shipped(name)
    assert strategy.name == name
    assert strategy.description
    assert strategy.source


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", ["not JSON"]),
        ("[]", ["not a JSON object"]),
        ('{"name": "a", "name": "b"}', ["'name' is given twice"]),
        ("{}", ["name: is missing", "turn: is missing", "image: is missing", "coordinates: is"]),
        (changed(nmae="x", max_tokens="128"), ["nmae: there is no such field", "max_tokens: "]),
        (changed(name="My Own"), ["name: "]),
        (changed(name="none"), ["'none'"]),
        (changed(turn={"template": "Find it."}), ["turn.template: must contain {question}"]),
        (changed(turn={"template": "{question} {example}"}), ["turn: the template contains {exa"]),
        (changed(turn={"template": "{question}", "example": "x["}), ["turn: the example is no"]),
        (changed(image={"square_pixels": 5}), ["image.square_pixels: "]),
        (changed(image={"least_pixels": 10}), ["image.most_pixels: is missing"]),
        (changed(image={"least_pixels": 9, "most_pixels": 8}), ["image: most_pixels must be"]),
        (changed(coordinates={"frame": "square"}), ["the frame 'square' needs"]),
        (changed(coordinates={"frame": "circle"}), ["coordinates.frame: "]),
        (changed(max_points=-1, max_tokens=0), ["max_points: ", "max_tokens: "]),
    ],
)  # fmt: skip
def test_every_mistake_is_reported(text: str, told: list[str]) -> None:
    said = mistakes(text)
    assert len(said) >= len(told)
    for one in told:
        assert any(one in line for line in said), said


def test_a_server_offers_the_built_in_ones_its_files_and_its_default(tmp_path: Path) -> None:
    file = written(tmp_path, changed())
    assert list(load_strategies(Settings())) == list(STRATEGIES)
    mine = load_strategies(Settings(strategy_file=(file,), strategy="mine"))
    assert list(mine) == [*STRATEGIES, "mine"]
    assert mine["mine"].keys.boxes == ("region",)


def test_two_strategies_of_one_name_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, changed(name="wise"))
    with pytest.raises(StrategyError, match="'wise' is in use"):
        load_strategies(Settings(strategy_file=(file,)))


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe9"}')
    for file, told in (("none.json", "No such file"), ("latin.json", "not UTF-8")):
        with pytest.raises(StrategyError, match=told):
            load_strategies(Settings(strategy_file=(str(tmp_path / file),)))


def test_check_reports_the_mistakes_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, changed())
    bad = written(tmp_path, changed(name="!", max_tokens=0), "bad.json")
    assert main(["strategies", "check", good]) == 0
    assert main(["strategies", "check", good, bad]) == 1
    told = capsys.readouterr()
    assert "valid strategy, 'mine'" in told.out
    assert "bad.json:\n  name: " in told.err
    assert "\n  max_tokens: " in told.err


def test_show_prints_the_prompt_and_how_an_answer_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["strategies", "show", "wise-s", "--query", "The Cup."]) == 0
    told = capsys.readouterr().out
    assert STRATEGIES["wise-s"].prompt("the cup") in told
    assert "840 x 840" in told
    assert '{"box": [8, 57, 152, 120], "points": [[23, 63], [27, 103]]}' in told
    file = written(tmp_path, changed())
    answer = '{"region": [14, 28, 280, 560]}'
    words = ["--answer", answer, "--image-size", "560x1120"]
    assert main(["strategies", "show", file, *words]) == 0
    assert '{"box": [14, 28, 280, 560], "points": []}' in capsys.readouterr().out
    tags = "<think>a</think><bbox></bbox><points>[[512,256],[2,4]]</points><labels>[1,0]</labels>"
    assert main(["strategies", "show", "seg-r1", "--answer", tags]) == 0
    point = '{"box": null, "points": [[320, 120], [1, 2]], "labels": [1, 0]}'
    told = capsys.readouterr().out
    assert "A conversation between User and Assistant." in told
    assert point in told
    capsys.readouterr()
    assert main(["strategies", "show", "no-such"]) == 1
    assert "neither a file nor a strategy of the package (wise-s, " in capsys.readouterr().err
    assert main(["strategies", "show", "qwen3-vl"]) == 0
    told = capsys.readouterr().out
    assert "give one with --answer" in told
    assert "is read as" not in told


def test_show_prints_the_adapter_and_whether_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["strategies", "show", "wise-s"]) == 0
    assert "adapter" not in capsys.readouterr().out
    show = ["strategies", "show", written(tmp_path, changed(lora="shelves"))]
    given = "--- adapter (LoRA)\nshelves: /models/shelves"
    assert main([*show, "--reasoner-lora", "shelves=/models/shelves"]) == 0
    assert given in capsys.readouterr().out
    assert main([*show, "--reasoner-lora", "cups=/models/cups"]) == 0
    told = capsys.readouterr().out
    assert "shelves, which is not given (given: cups)" in told
    assert "--reasoner-lora shelves=FOLDER" in told
    monkeypatch.setenv("WISE_REASONER_LORA", "shelves=/models/shelves")
    assert main(show) == 0
    assert given in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*show, "--reasoner-lora", "no-path"])
    assert "--reasoner-lora: 'no-path' is not NAME=PATH" in capsys.readouterr().err


def test_list_names_all_that_come_with_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*shipped_names()]
