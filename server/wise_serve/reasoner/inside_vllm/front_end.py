"""vLLM's `AsyncLLM` in this process, its engine core in a process of its own.

Imported only when the engine starts, because it imports torch, which takes seconds.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.lora.request import LoRARequest
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from wise_serve.contract.errors import InvalidField, NotReady, ReasonerLost
from wise_serve.device import batches_of, device_of
from wise_serve.reasoner import FinishReason, ReasonDelta, ReasonRequest
from wise_serve.reasoner.adapters import Adapter, engine_rank
from wise_serve.reasoner.engine_args import read_engine_args
from wise_serve.reasoner.parts import ANSWER_CLOSE, D_THINK_OPEN
from wise_serve.settings import MINIATURE, Settings

# Runs the model inside the engine core. vLLM's default on a CPU is one more process, and the engine
# core would use a whole CPU core to poll for its answers (docs/performance.md).
UNIPROC: Final = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
CPU_KERNELS: Final = "wise_serve.reasoner.inside_vllm.cpu_kernels.Layers"
CPU_BLOCK_TOKENS: Final = (
    32  # the smallest block of its attention, so that short prefixes are cached too
)
# The only backend of vLLM that is not slowed down by the answer's pattern (docs/decisions/0013).
GRAMMAR_BACKEND: Final = "guidance"
NGRAM_LEAST, NGRAM_MOST = 2, 4  # tokens that must match before the tokens after them are guessed
STOP_DEADLINE_S: Final = 5.0


class Engine:
    """The running engine. The constructor loads the model: it blocks for seconds to minutes."""

    def __init__(self, settings: Settings, model: str, adapters: Mapping[str, Adapter]) -> None:
        config = engine_arguments(settings, model, adapters).create_engine_config()
        self.llm = AsyncLLM.from_vllm_config(config)
        self.tokenizer: Any = self.llm.get_tokenizer()  # of transformers
        self._adapters = {
            name: LoRARequest(name, number, str(adapter.path))
            for number, (name, adapter) in enumerate(adapters.items(), start=1)
        }

    async def load_adapters(self) -> None:
        """Load every LoRA adapter, so that a damaged one fails the start and not a request. Raises
        NotReady."""
        for name, adapter in self._adapters.items():
            try:
                await self.llm.add_lora(adapter)
            except Exception as error:
                reason = str(error).strip().partition("\n")[0][:300]
                raise NotReady(f"The adapter '{name}' cannot be loaded: {reason}") from None

    @property
    def alive(self) -> bool:
        """Whether the engine core is alive."""
        return not self.llm.errored

    async def stop(self) -> None:
        """End the engine core; requests in flight fail with ReasonerLost."""
        if self.llm.output_handler is not None:
            # Otherwise this task would report that the engine died.
            self.llm.output_handler.cancel()
        await asyncio.to_thread(self.llm.shutdown, STOP_DEADLINE_S)

    async def generate(
        self, text: str, request: ReasonRequest, written: tuple[int, ...]
    ) -> AsyncGenerator[ReasonDelta, None]:
        """Generate up to `</answer>`. Closing the generator aborts the request in the engine.

        text: the whole prompt, as the chat template makes it. written: tokens of this answer that
        were generated before. Raises ReasonerLost if the engine dies, InvalidField if the prompt is
        longer than the engine allows.
        """
        prompt: Any = {
            "prompt": text,
            "multi_modal_data": {"image": request.image},
            # The key of the pixels in vLLM's caches; with it vLLM need not hash them.
            "multi_modal_uuids": {"image": [request.image_digest]},
        }
        llm = self.llm
        try:
            # The renderer tokenizes and preprocesses in threads, not on the event loop.
            parsed = parse_model_prompt(llm.model_config, prompt)
            [rendered] = await llm.renderer.render_cmpl_async([parsed])
            rendered["prompt_token_ids"] = [*rendered["prompt_token_ids"], *written]
            part = f"{request.request_id}+{len(written)}" if written else request.request_id
            sampling = _sampling(request, len(written))
            adapter = None if request.lora is None else self._adapters[request.lora]
            outputs = llm.generate(rendered, sampling, part, lora_request=adapter)
            async with aclosing(outputs):
                async for output in outputs:
                    yield _delta(output)
        except EngineDeadError:
            raise ReasonerLost(
                "The reasoning engine ended while it processed this request.", 5.0
            ) from None
        except VLLMClientError:
            # Characters that are rare in the vocabulary take several tokens each, so the limit on
            # a query's characters does not prevent this.
            raise InvalidField(
                "The query is too long for this model: with the image and the instruction it must "
                f"have fewer than {llm.model_config.max_model_len} tokens.",
                field="query",
            ) from None


def _delta(output: Any) -> ReasonDelta:
    step = output.outputs[0]
    ended: FinishReason | None = "stop" if step.finish_reason else None
    return ReasonDelta(
        text=step.text,
        token_ids=tuple(step.token_ids),
        prompt_tokens=len(output.prompt_token_ids or ()),
        cached_tokens=output.num_cached_tokens or 0,
        finish_reason="length" if step.finish_reason == "length" else ended,
    )


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


def _spare_adapters(settings: Settings) -> int:
    """The number of slots for adapters that stay empty. If another request of the batch has an
    adapter, vLLM's CPU kernels use the last slot for requests without one; on a GPU they use
    none."""
    return 1 if device_of(settings) == "cpu" else 0


def _arguments_of_device(settings: Settings) -> dict[str, Any]:
    if device_of(settings) == "cuda":
        return {"gpu_memory_utilization": settings.gpu_memory_utilization}
    arguments: dict[str, Any] = {
        "dtype": "float32" if settings.reasoner == MINIATURE else "bfloat16",
        "kv_cache_memory_bytes": settings.kv_cache_bytes,
        "block_size": CPU_BLOCK_TOKENS,
        "enforce_eager": not settings.engine_compile,
        "distributed_executor_backend": UNIPROC,
    }
    if settings.cpu_kernels and not settings.engine_compile:  # which generates its own kernels
        arguments["worker_extension_cls"] = CPU_KERNELS
    return arguments


def engine_arguments(
    settings: Settings, model: str, adapters: Mapping[str, Adapter]
) -> AsyncEngineArgs:
    """vLLM's arguments for these settings; everything that is not named keeps vLLM's default."""
    arguments: dict[str, Any] = {
        "model": model,
        "seed": 0,
        "trust_remote_code": False,
        "generation_config": "vllm",  # without the checkpoint's defaults for sampling
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "enable_prefix_caching": True,
        "max_num_batched_tokens": batches_of(settings).tokens,
        "max_num_seqs": settings.max_inflight_requests,
        "max_model_len": 2048 if settings.reasoner == MINIATURE else 8192,
        "mm_processor_cache_gb": settings.engine_image_cache_bytes / 2**30,
        "disable_log_stats": False,  # the stats are the vllm:* series of /metrics
        "enable_log_requests": settings.log_level == "debug",  # only ids, no prompts
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
    if adapters:
        arguments |= {
            "enable_lora": True,
            "max_loras": len(adapters) + _spare_adapters(settings),  # no adapter waits
            "max_lora_rank": engine_rank(adapters),
        }
    arguments |= _arguments_of_device(settings)
    return AsyncEngineArgs(**(arguments | read_engine_args(settings.engine_args)))
