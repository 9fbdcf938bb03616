"""The reasoner on vLLM: `AsyncLLM` in this process, its engine core in a process of its own.

Only `inside_vllm/` imports vLLM, when the engine starts. A prompt is the checkpoint's chat template
with one user turn, image first. Decoding is greedy and stops after `</answer>`.
"""

import asyncio
import importlib
import json
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image

from wise_serve import processes
from wise_serve.contract.errors import NotReady
from wise_serve.device import device_of
from wise_serve.observe import logs
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.adapters import AdapterError, read_adapters
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.options import engine_threads, what_is_missing
from wise_serve.reasoner.strategies import Strategy
from wise_serve.reasoner.strategies.pixels import misfits_of
from wise_serve.reasoner.thinking import until_answered
from wise_serve.reasoner.tokens import Vocabulary
from wise_serve.settings import Settings

if TYPE_CHECKING:
    from wise_serve.reasoner.inside_vllm.front_end import Engine

_log = logging.getLogger("wise_serve.reasoner")
PUBLIC_IMAGE_SIZE = 840  # pixels; what the public WISE and Seg-Zero checkpoints were trained with
WARM_UP_TOKENS = 8
LOG_FILE_VARIABLE = "VLLM_LOGGING_CONFIG_PATH"
PICKLE_VARIABLE = "VLLM_ALLOW_INSECURE_SERIALIZATION"
START_METHOD_VARIABLE = "VLLM_WORKER_MULTIPROC_METHOD"


class VllmReasoner:
    """`Reasoner` on vLLM. Nothing is loaded before `start`."""

    def __init__(self, settings: Settings, strategies: Mapping[str, Strategy]) -> None:
        """strategies: all that requests may use, by name."""
        self._settings = settings
        self._model = settings.reasoner_checkpoint
        self.name = settings.reasoner
        self.image_size = settings.reasoner_square_pixels
        self._strategies = strategies
        self._engine: Engine | None = None
        self._log_file: IO[str] | None = None  # while it starts
        self._vocabulary: Vocabulary | None = None
        self._prompts_around: dict[str | None, tuple[str, str]] = {}  # by the system's turn

    async def start(self) -> None:
        """Load the model and answer warm-up requests; blocks no event loop. Raises NotReady."""
        if missing := what_is_missing(self._settings):
            raise NotReady(missing)  # vLLM would fail later, with a less clear message
        try:
            adapters = await asyncio.to_thread(read_adapters, self._settings, Path(self._model))
        except AdapterError as error:
            raise NotReady(str(error)) from None
        await asyncio.to_thread(self._check_pixels)
        os.environ[PICKLE_VARIABLE] = "0"  # never pickle to or from the engine core
        # A forked engine core would inherit CUDA's state and the locks that the gateway's threads
        # hold; a spawned one starts clean.
        os.environ[START_METHOD_VARIABLE] = "spawn"
        self._configure_logs()
        os.environ.update(processes.model_environment(self._settings, os.environ))
        if device_of(self._settings) == "cpu":
            os.environ.setdefault("OMP_NUM_THREADS", str(engine_threads(self._settings)))
        try:
            async with asyncio.timeout(self._settings.startup_deadline_s):
                # Loading blocks for seconds; the event loop keeps answering /livez meanwhile.
                make = await asyncio.to_thread(_engine_class)
                self._engine = await asyncio.to_thread(make, self._settings, self._model, adapters)
                tokenizer = self._engine.tokenizer
                self._vocabulary = Vocabulary(tokenizer)
                systems = {None, *(one.turn.system for one in self._strategies.values())}
                self._prompts_around = {one: self._cut_template(tokenizer, one) for one in systems}
                await self._engine.load_adapters()
                await self._warm_up()
        except TimeoutError:
            raise NotReady("The reasoner did not load in time; raise startup_deadline_s.") from None
        finally:
            self._forget_log_file()  # the engine has read it

    def _check_pixels(self) -> None:
        """Raise NotReady if the checkpoint's preprocessor resizes the image of a strategy. For a
        built-in strategy that no setting names, this is only logged.
        """
        for misfit in misfits_of(self._settings, self._strategies) or ():
            if misfit.asked_for:
                raise NotReady(misfit.message)
            _log.warning(misfit.message)

    def _configure_logs(self) -> None:
        """Let vLLM log warnings only (at log level debug everything), as JSON lines on stderr.

        Its child processes read this configuration from the environment.
        """
        level = "DEBUG" if self._settings.log_level == "debug" else "WARNING"
        file = self._log_file = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115
        file.write(json.dumps(logs.library_configuration(level)))
        file.flush()
        os.environ.setdefault(LOG_FILE_VARIABLE, file.name)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", level)
        vllm_logger = logging.getLogger("vllm")
        vllm_logger.setLevel(level)
        vllm_logger.handlers.clear()
        vllm_logger.propagate = True

    def _forget_log_file(self) -> None:
        file, self._log_file = self._log_file, None
        if file is None:
            return
        if os.environ.get(LOG_FILE_VARIABLE) == file.name:
            del os.environ[LOG_FILE_VARIABLE]  # the next engine of this process brings its own
        file.close()

    def _cut_template(self, tokenizer: Any, system: str | None) -> tuple[str, str]:
        """The chat template's text before and after the user's text; a placeholder shows where."""
        stand_in = "WISE-USER-TEXT"
        turn = [{"type": "image"}, {"type": "text", "text": stand_in}]
        before_it = [] if system is None else [{"role": "system", "content": system}]
        text = tokenizer.apply_chat_template(
            [*before_it, {"role": "user", "content": turn}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, found, after = text.partition(stand_in)
        if not found or "<|image_pad|>" not in before:
            raise NotReady(f"The chat template of '{self.name}' has no place for image and text.")
        return before, after

    async def _warm_up(self) -> None:
        """Generate one short answer; with structured answers, one more for each pattern."""
        side = self.image_size or PUBLIC_IMAGE_SIZE
        image = Image.new("RGB", (side, side))
        patterns: list[str | None] = [None]
        if self._settings.structured_answers:
            patterns += map(answer_pattern, self._strategies.values())
        for pattern in patterns:
            request = ReasonRequest("warm-up", image, "warm-up", "", WARM_UP_TOKENS, pattern)
            async with aclosing(self.stream(request)) as deltas:
                async for _ in deltas:
                    pass

    async def stop(self) -> None:
        """End the engine; requests in flight fail with ReasonerLost."""
        engine, self._engine = self._engine, None
        self._forget_log_file()
        if engine is not None:
            await engine.stop()

    @property
    def alive(self) -> bool:
        """Whether the engine is loaded and its core is alive."""
        return self._engine is not None and self._engine.alive

    def special_tokens(self) -> frozenset[str]:
        """The tokenizer's special and added tokens; empty before `start`."""
        return frozenset() if self._vocabulary is None else self._vocabulary.special

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """The UTF-8 bytes of each token, in order. Needs `start`."""
        assert self._vocabulary is not None
        return self._vocabulary.texts(token_ids)

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """See `Reasoner.stream`. Raises NotReady, ReasonerLost, InvalidField."""
        generate = partial(self._generate, request)
        return until_answered(generate, request.max_tokens, self.token_texts)

    async def _generate(
        self, request: ReasonRequest, written: tuple[int, ...]
    ) -> AsyncGenerator[ReasonDelta, None]:
        """Generate up to `</answer>`; `written`: tokens of this answer generated before."""
        engine = self._engine
        if engine is None:
            raise NotReady("The reasoner is not loaded.")
        before, after = self._prompts_around[request.system]
        text = before + request.prompt + after
        async with aclosing(engine.generate(text, request, written)) as deltas:
            async for delta in deltas:
                yield delta


def _engine_class() -> "type[Engine]":
    """Import vLLM and torch; meanwhile the garbage collector, which would find nothing, pauses."""
    processes.pause_collector()
    try:
        front_end = importlib.import_module("wise_serve.reasoner.inside_vllm.front_end")
    finally:
        processes.resume_collector()
    found: type[Engine] = front_end.Engine
    return found
