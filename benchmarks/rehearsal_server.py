"""`wise-serve serve` whose reasoner writes texts from a file, for benchmarks/rehearsal.py.

The first argument is a JSON file: an object that maps a query to the grammar of its answer. The
others are flags of `wise-serve serve`; `--structured-answers` must be one of them. Everything else
is the server's own: the model computes every token, and the grammar allows only one.

A query that is not in the file is answered normally; if it contains the word "freely", the answer
may have any form. For a checkpoint without weights vLLM makes random ones.
"""

import json
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from wise_serve import compose
from wise_serve.cli.main import main
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.adapters import Adapter
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.inside_vllm import front_end
from wise_serve.reasoner.inside_vllm.front_end import engine_arguments
from wise_serve.settings import Settings

FREELY = "freely"


class ScriptedReasoner(VllmReasoner):
    """Writes the text of a grammar if the prompt contains one of the queries in `grammars`."""

    def __init__(self, grammars: dict[str, str], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._grammars = grammars

    async def start(self) -> None:
        """As `VllmReasoner.start`; then let generations follow a grammar instead of a pattern."""
        await super().start()
        engine: Any = self._engine and self._engine.llm
        # Replaced here, because a request can only carry a regular expression.
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


def _arguments_with_random_weights(
    settings: Settings, model: str, adapters: Mapping[str, Adapter]
) -> AsyncEngineArgs:
    arguments = engine_arguments(settings, model, adapters)
    if not any(Path(model).glob("*.safetensors")):
        arguments.load_format = "dummy"
    return arguments


if __name__ == "__main__":
    texts = json.loads(Path(sys.argv[1]).read_text())
    front_end.engine_arguments = _arguments_with_random_weights
    setattr(compose, VllmReasoner.__name__, partial(ScriptedReasoner, texts))
    sys.exit(main(["serve", *sys.argv[2:]]))
