"""The reasoner on vLLM: `AsyncLLM` in this process, its engine core in a process of its own.

Only this module and `cpu_kernels` import vLLM. Prompts are the checkpoint's own chat template with
one user turn, image first; decoding is greedy and stops at `</answer>`, which stays in the text.
"""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from wise_serve import processes
from wise_serve.contract.errors import NotReady, ReasonerLost
from wise_serve.device import device_of
from wise_serve.observe import logs
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.options import what_is_missing
from wise_serve.reasoner.parts import ANSWER_CLOSE, D_THINK_OPEN
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.reasoner.thinking import until_answered
from wise_serve.reasoner.tokens import token_bytes
from wise_serve.settings import MINIATURE, Settings

PUBLIC_IMAGE_SIZE = 840  # pixels; what the public WISE and Seg-Zero checkpoints were trained with
# Runs the model inside the engine core. vLLM's CPU platform would put it into one more process, for
# whose answer the core spins: a core of the machine spent on nothing (docs/performance.md).
UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
CPU_KERNELS = "wise_serve.reasoner.cpu_kernels.Layers"
CPU_BLOCK_TOKENS = 32  # the smallest block the CPU attention takes: short image prefixes are cached
# The one of vLLM's backends that this pattern does not slow down (docs/decisions/0013).
GRAMMAR_BACKEND = "guidance"
NGRAM_LEAST, NGRAM_MOST = 2, 4  # tokens that must agree before what followed them is guessed
STOP_DEADLINE_S = 5.0
WARM_UP_TOKENS = 8
LOG_FILE_VARIABLE = "VLLM_LOGGING_CONFIG_PATH"
PICKLE_VARIABLE = "VLLM_ALLOW_INSECURE_SERIALIZATION"


class VllmReasoner:
    """`Reasoner` on vLLM. Nothing is loaded before `start`."""

    def __init__(self, settings: Settings, miniature: Path, miniature_image_size: int) -> None:
        """`miniature`: the folder that this name stands for, and the side of its square, pixels."""
        self._settings = settings
        is_miniature = settings.reasoner == MINIATURE
        self._model = str(miniature) if is_miniature else settings.reasoner
        self.name = settings.reasoner
        default_size = miniature_image_size if is_miniature else None
        self.image_size = settings.reasoner_image_size_pixels or default_size
        self._strategies = load_strategies(settings)
        self._is_miniature = is_miniature
        self._engine: AsyncLLM | None = None
        self._log_file = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115, until started
        self._tokenizer: Any = None
        self._added: frozenset[str] = frozenset()
        self._special: frozenset[str] = frozenset()
        self._prompts_around: dict[str | None, tuple[str, str]] = {}  # by the system's turn

    async def start(self) -> None:
        if missing := what_is_missing(self._settings):
            raise NotReady(missing)  # vLLM would fail later, and say less
        os.environ[PICKLE_VARIABLE] = "0"  # whatever it was: no pickle to or from the engine core
        self._configure_logs()
        if device_of(self._settings) == "cpu":
            os.environ.update(processes.allocator_environment(self._settings, os.environ))
            os.environ.setdefault("OMP_NUM_THREADS", str(engine_threads(self._settings)))
        try:
            async with asyncio.timeout(self._settings.startup_deadline_s):
                # Loading blocks for seconds; the event loop keeps answering /livez meanwhile.
                arguments = await asyncio.to_thread(engine_arguments, self._settings, self._model)
                config = await asyncio.to_thread(arguments.create_engine_config)
                engine = await asyncio.to_thread(AsyncLLM.from_vllm_config, config)
                self._engine = engine
                self._tokenizer = engine.get_tokenizer()
                # Asked for with every query and every token, and made anew by each call.
                self._added = frozenset(self._tokenizer.get_added_vocab())
                self._special = self._added | frozenset(self._tokenizer.all_special_tokens)
                systems = {one.turn.system for one in self._strategies.values()}
                self._prompts_around = {one: self._cut_template(one) for one in {None, *systems}}
                await self._warm_up()
        except TimeoutError:
            raise NotReady("The reasoner did not load in time; raise startup_deadline_s.") from None
        finally:
            self._forget_log_file()  # read by now; a gateway that is killed leaves none behind

    def _configure_logs(self) -> None:
        """vLLM's own lines: warnings only (unless debugging), to standard error, as JSON lines.

        Its child processes take these from the environment.
        """
        level = "DEBUG" if self._settings.log_level == "debug" else "WARNING"
        self._log_file.write(json.dumps(logs.library_configuration(level)))
        self._log_file.flush()
        os.environ.setdefault(LOG_FILE_VARIABLE, self._log_file.name)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", level)
        vllm_logger = logging.getLogger("vllm")
        vllm_logger.setLevel(level)
        vllm_logger.handlers.clear()
        vllm_logger.propagate = True

    def _forget_log_file(self) -> None:
        if os.environ.get(LOG_FILE_VARIABLE) == self._log_file.name:
            del os.environ[LOG_FILE_VARIABLE]  # the next engine of this process brings its own
        self._log_file.close()

    def _cut_template(self, system: str | None) -> tuple[str, str]:
        """The chat template's text before and after the user's, found with a stand-in."""
        stand_in = "WISE-USER-TEXT"
        turn = [{"type": "image"}, {"type": "text", "text": stand_in}]
        before_it = [] if system is None else [{"role": "system", "content": system}]
        text = self._tokenizer.apply_chat_template(
            [*before_it, {"role": "user", "content": turn}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, found, after = text.partition(stand_in)
        if not found or "<|image_pad|>" not in before:
            raise NotReady(f"The chat template of '{self.name}' does not take an image and a text.")
        return before, after

    async def _warm_up(self) -> None:
        """One short answer, and one of each form where answers are held to it."""
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
        engine, self._engine = self._engine, None
        self._forget_log_file()
        if engine is not None:
            if engine.output_handler is not None:
                engine.output_handler.cancel()  # else it takes the closing engine for a dead one
            await asyncio.to_thread(engine.shutdown, STOP_DEADLINE_S)

    @property
    def alive(self) -> bool:
        return self._engine is not None and not self._engine.errored

    def special_tokens(self) -> frozenset[str]:
        return self._special

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        tokens: list[str] = self._tokenizer.convert_ids_to_tokens(list(token_ids))
        return [token_bytes(token, self._added) for token in tokens]

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        return until_answered(partial(self._generate, request), request.max_tokens)

    async def _generate(
        self, request: ReasonRequest, written: tuple[int, ...]
    ) -> AsyncGenerator[ReasonDelta, None]:
        """Generate up to `</answer>`; `written`: tokens of this answer that exist already."""
        engine = self._engine
        if engine is None:
            raise NotReady("The reasoner is not loaded.")
        before, after = self._prompts_around[request.system]
        prompt: Any = {
            "prompt": before + request.prompt + after,
            "multi_modal_data": {"image": request.image},
            # The digest spares vLLM from hashing the pixels, and names them in its caches.
            "multi_modal_uuids": {"image": [request.image_digest]},
        }
        try:
            # The renderer tokenizes and preprocesses in threads, not on the event loop.
            parsed = parse_model_prompt(engine.model_config, prompt)
            [rendered] = await engine.renderer.render_cmpl_async([parsed])
            rendered["prompt_token_ids"] = [*rendered["prompt_token_ids"], *written]
            part = f"{request.request_id}+{len(written)}" if written else request.request_id
            outputs = engine.generate(rendered, _sampling(request, len(written)), part)
            # Closing vLLM's generator before it ends aborts the request in the engine.
            async with aclosing(outputs):
                async for output in outputs:
                    step = output.outputs[0]
                    yield ReasonDelta(
                        text=step.text,
                        token_ids=tuple(step.token_ids),
                        prompt_tokens=len(output.prompt_token_ids or ()),
                        cached_tokens=output.num_cached_tokens or 0,
                        finish_reason="length" if step.finish_reason == "length" else
                        ("stop" if step.finish_reason else None),
                    )  # fmt: skip
        except EngineDeadError:
            raise ReasonerLost("The reasoning engine ended under this request.", 5.0) from None


def _sampling(request: ReasonRequest, written: int) -> SamplingParams:
    held = StructuredOutputsParams(regex=request.pattern) if request.pattern else None
    return SamplingParams(
        temperature=0.0,
        max_tokens=request.max_tokens - written,
        structured_outputs=held,
        stop=[ANSWER_CLOSE, D_THINK_OPEN],
        include_stop_str_in_output=True,
        output_kind=RequestOutputKind.DELTA,
        skip_special_tokens=True,
    )


def engine_threads(settings: Settings) -> int:
    """CPU threads of the engine's torch; read from the environment by the engine core."""
    others = settings.segmenter_threads
    return settings.engine_threads or max(1, len(os.sched_getaffinity(0)) - others)


def engine_arguments(settings: Settings, model: str) -> AsyncEngineArgs:
    """vLLM's arguments for these settings; everything that is not named keeps vLLM's default."""
    arguments: dict[str, Any] = {
        "model": model,
        "seed": 0,
        "trust_remote_code": False,
        "generation_config": "vllm",  # no checkpoint's sampling defaults in greedy decoding
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "enable_prefix_caching": True,
        "max_num_batched_tokens": settings.max_batched_tokens,
        "max_num_seqs": settings.max_inflight_requests,
        "max_model_len": 2048 if settings.reasoner == MINIATURE else 8192,
        "mm_processor_cache_gb": settings.engine_image_cache_bytes / 2**30,
        "disable_log_stats": False,  # the stats are the vllm:* series of /metrics
        "enable_log_requests": settings.log_level == "debug",  # ids alone, without their prompts
    }
    if settings.structured_answers:
        arguments["structured_outputs_config"] = {"backend": GRAMMAR_BACKEND}
    if settings.ngram_tokens:
        arguments["speculative_config"] = {
            "method": "ngram",
            "num_speculative_tokens": settings.ngram_tokens,
            "prompt_lookup_min": NGRAM_LEAST,
            "prompt_lookup_max": NGRAM_MOST,
        }
    if device_of(settings) == "cpu":
        arguments |= {
            "dtype": "float32" if settings.reasoner == MINIATURE else "bfloat16",
            "kv_cache_memory_bytes": settings.kv_cache_bytes,
            "block_size": CPU_BLOCK_TOKENS,
            "enforce_eager": not settings.engine_compile,
            "distributed_executor_backend": UNIPROC,
        }
        if settings.cpu_kernels and not settings.engine_compile:  # which makes kernels of its own
            arguments["worker_extension_cls"] = CPU_KERNELS
    else:
        arguments["gpu_memory_utilization"] = settings.gpu_memory_utilization
    return AsyncEngineArgs(**arguments)
