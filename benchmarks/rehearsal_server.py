"""`wise-serve serve` whose reasoner writes what a file says, for benchmarks/rehearsal.py.

First argument: a JSON file, an object from query to the grammar that its answer is held to. The
others are flags of `wise-serve serve`, with `--structured-answers` among them. All else is the
server's own: the model computes every token, of which the grammar leaves one.
A query that the file does not name is answered as ever; with the word "freely" in it, without a
form. A checkpoint's folder without weights gets random ones, made by vLLM.
"""

import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from wise_serve import compose
from wise_serve.cli.main import main
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.inside_vllm import front_end
from wise_serve.reasoner.inside_vllm.front_end import engine_arguments
from wise_serve.settings import Settings

FREELY = "freely"


class ScriptedReasoner(VllmReasoner):
    """Writes the text of a grammar where the prompt holds one of the queries `grammars` names."""

    def __init__(self, grammars: dict[str, str], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._grammars = grammars

    async def start(self) -> None:
        """As `VllmReasoner.start`; then let generations follow a grammar instead of a pattern."""
        await super().start()
        engine: Any = self._engine and self._engine.llm
        # An instance's attribute: `stream` can hand over a regular expression only.
        engine.generate = partial(_generate_by_grammar, engine.generate)

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """As `VllmReasoner.stream`, with the grammar that belongs to the query, if there is one."""
        named = [text for query, text in self._grammars.items() if query in request.prompt]
        if named:
            request = replace(request, pattern=named[0])
        elif FREELY in request.prompt:
            request = replace(request, pattern=None)
        return super().stream(request)


def _generate_by_grammar(
    generate: Any, prompt: Any, sampling: SamplingParams, *more: Any, **named: Any
) -> Any:
    held = sampling.structured_outputs
    if held is not None and held.regex is not None and held.regex.startswith("start: "):
        sampling.structured_outputs = StructuredOutputsParams(grammar=held.regex)
    return generate(prompt, sampling, *more, **named)


def _arguments_with_random_weights(settings: Settings, model: str) -> AsyncEngineArgs:
    arguments = engine_arguments(settings, model)
    if not any(Path(model).glob("*.safetensors")):
        arguments.load_format = "dummy"
    return arguments


if __name__ == "__main__":
    texts = json.loads(Path(sys.argv[1]).read_text())
    front_end.engine_arguments = _arguments_with_random_weights
    setattr(compose, VllmReasoner.__name__, partial(ScriptedReasoner, texts))
    sys.exit(main(["serve", *sys.argv[2:]]))
