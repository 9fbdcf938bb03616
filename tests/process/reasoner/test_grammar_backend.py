"""The answer's pattern in the backend that vLLM uses, with the miniature's own tokens."""

from pathlib import Path
from typing import Any

import llguidance
import llguidance.hf
import pytest
from transformers import AutoTokenizer

from wise_serve.contract.errors import NotReady
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.reasoner import options
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.strategies import STRATEGIES, Strategy
from wise_serve.settings import Settings

NOWHERE = Path("nowhere")
BEGIN = "<think>a < b <</think>"


EXAMPLE = '{"bbox": [1,2,3,4], "a.b (c)": "the cup\'s", "on": true, "no": null}'
TURN = {"template": "{question} {example}", "example": EXAMPLE}
TYPED = Strategy.model_validate(STRATEGIES["wise-s"].model_dump() | {"name": "x", "turn": TURN})


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(REASONER_FOLDER)


@pytest.mark.parametrize("strategy", [*STRATEGIES.values(), TYPED], ids=lambda one: one.name)
def test_the_backend_reads_the_pattern_as_python_does(tokenizer: Any, strategy: Strategy) -> None:
    backend = llguidance.hf.from_tokenizer(tokenizer)
    pattern = answer_pattern(strategy)
    assert pattern is not None
    grammar = llguidance.LLMatcher.grammar_from_regex(pattern)

    def taken(text: str) -> tuple[int, bool]:
        """How many tokens, and whether the text may end there."""
        matcher = llguidance.LLMatcher(backend, grammar)
        tokens = tokenizer.encode(text, add_special_tokens=False)
        return matcher.try_consume_tokens(tokens) - len(tokens), matcher.is_accepting()

    assert taken(f"{BEGIN}\n<answer>{strategy.example}</answer>") == (0, True)
    assert taken(f"{BEGIN}<answer>{{}}</answer>") == (0, True)
    assert taken(f"{BEGIN}<answer>{strategy.example}") == (0, False)
    for wrong in (f"{BEGIN}no", "no", f"{BEGIN}<answer>no", f"{BEGIN}<answer>{{}}</answer>x"):
        assert taken(wrong)[0] < 0, wrong


@pytest.mark.parametrize(
    ("chosen", "package"),
    [({"structured_answers": True}, "llguidance"), ({"ngram_tokens": 4}, "numba")],
)
async def test_a_missing_package_is_reported_before_the_engine_loads(
    chosen: dict[str, Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "package_version", lambda *names: "none")
    reasoner = VllmReasoner(Settings(**chosen), STRATEGIES)
    with pytest.raises(NotReady, match=f"pip install {package}"):
        await reasoner.start()
    await reasoner.stop()
