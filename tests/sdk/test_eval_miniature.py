"""`benchmarks/miniature_eval.py`: the scenes it writes, and the region it rewrites."""

import json
from pathlib import Path

import pytest
from PIL import Image

import miniature_eval
from scripted import ScriptedServer
from wise_client.eval import datasets


def test_scenes_are_a_dataset_with_their_truth(tmp_path: Path) -> None:
    miniature_eval.write_scenes(tmp_path, 5, seed=3)
    samples = list(datasets.read(tmp_path))
    assert len(samples) == 5
    empty = []
    for sample in samples:
        with Image.open(sample.image) as picture:
            mask = sample.truth(picture.size).mask
        empty.append(not mask.any())
        assert mask.mean() < 0.5
    assert empty == [False, False, False, False, True]  # the last family asks for what is absent


def test_the_region_is_rewritten_and_nothing_else(
    tmp_path: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "evaluation.md"
    marks = (miniature_eval.BEGIN, miniature_eval.END)
    document.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n")
    words = ["--scenes", "1", "--url", server.url, "--document", str(document)]
    miniature_eval.main(words)
    told = document.read_text("utf-8")
    assert told.startswith(f"before\n{marks[0]}\n1 scenes (seed 1), 4 requests at once, fake-")
    assert told.endswith(f"\n{marks[1]}\nafter\n")
    assert "old" not in told
    assert "| thinking tokens, mean | 6.0 | 6.0 (x1.00) | 6.0 (x1.00) | 6.0 (x1.00) |" in told
    assert "| wise-s | 6 | 55 | bright, so " in told
    assert len(server.received) == 4
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["strategy"] for one in last["strategies"]] == list(miniature_eval.STRATEGIES)
    again = miniature_eval.rewritten(told, "new\n")
    assert again == f"before\n{marks[0]}\nnew\n{marks[1]}\nafter\n"


def test_a_document_without_the_region_costs_no_request(
    tmp_path: Path, server: ScriptedServer
) -> None:
    document = tmp_path / "evaluation.md"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- miniature: begin -->"):
        miniature_eval.main(["--url", server.url, "--document", str(document)])
    assert server.received == []


def test_the_project_s_own_document_has_the_region() -> None:
    document = miniature_eval.DOCUMENT.read_text("utf-8")
    assert miniature_eval.rewritten(document, "new\n").count("new\n") == 1
