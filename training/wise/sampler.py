"""Samples from vLLM, whose weights follow those of the model in training.

The engine runs in this process (vLLM's `LLM`), with the arguments of the server's, so that a step
hands it the trainer's tensors and no file. With the old weights, vLLM also drops what it computed
with them: keys and values of prefixes, and image tokens.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from vllm import LLM, SamplingParams

from miniature.reasoner_model import CELLS, PREFIX_LENGTH
from wise.episodes import MOST_PROMPT_TOKENS, Prompts
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.reasoner.inside_vllm.front_end import engine_arguments
from wise_serve.settings import Settings

MOST_TOKENS_BEFORE_RESPONSE: Final = PREFIX_LENGTH + CELLS * CELLS + MOST_PROMPT_TOKENS
KV_CACHE_BYTES: Final = 2**29  # 58,000 tokens on a CPU; 16 prompts of 8 samples need at most 41,000


@dataclass
class Samples:
    """tokens: B x R x T, each row its prompt and then its response, padded with the end token.
    sampled: B x R x T, whether a token was sampled (the end token counts). complete: B x R, whether
    the response ended before the length did."""

    tokens: Tensor
    sampled: Tensor
    complete: Tensor

    def part(self, rows: slice) -> "Samples":
        """Those of some of the prompts."""
        return Samples(self.tokens[rows], self.sampled[rows], self.complete[rows])


class Sampler:
    """vLLM in this process. Its weights are the packaged miniature's until the first `update`.

    A process can have one. On a CPU it uses as many threads as torch did before; vLLM lets nobody
    change that afterwards.
    """

    def __init__(self, requests: int) -> None:
        """requests: how many responses are written at the same time; more of them wait."""
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        # Otherwise vLLM starts a process for the model, which is sent weights as files or messages.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        settings = Settings(
            max_inflight_requests=requests, kv_cache_bytes=KV_CACHE_BYTES,
            # vLLM splits a prompt that does not fit; on a CPU that fails if its request has a seed.
            max_batched_tokens=max(256, requests * MOST_TOKENS_BEFORE_RESPONSE),
            engine_image_cache_bytes=0,  # every step has new images
        )  # fmt: skip
        arguments = vars(engine_arguments(settings, str(REASONER_FOLDER), {}))
        del arguments["enable_log_requests"]  # of the server's front end alone
        self._llm = LLM(**arguments | {"disable_log_stats": True})

    def update(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a model's state dict. Raises RuntimeError if old keys and values
        stay, as they do while a response is being written."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(state.items())})
        # Reloading clears the image tokens of the worker; the scheduler must forget them too.
        self._llm.llm_engine.reset_encoder_cache()
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM kept keys and values of the weights before.")

    def sample(self, prompts: Prompts, temperature: float, seeds: tuple[int, ...]) -> Samples:
        """As many responses a prompt as `prompts` has rows, up to the length of its turns.

        temperature 0 is greedy. seeds: equal ones draw equal samples of equal weights.
        """
        tokens = prompts.batch.turns.clone()
        sampled = torch.zeros_like(tokens, dtype=torch.bool)
        complete = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        rows, length = tokens.shape[1:]
        starts = prompts.lengths[:, 0].tolist()
        requests: list[Any] = [
            {
                "prompt_token_ids": [*prompts.before_turn, *tokens[b, 0, :start].tolist()],
                "multi_modal_data": {"image": prompts.images[b]},
            }
            for b, start in enumerate(starts)
        ]
        sampling = [
            SamplingParams(
                n=rows if temperature else 1, temperature=temperature, detokenize=False,
                max_tokens=length - start,
                seed=int(np.random.SeedSequence((*seeds, b)).generate_state(1)[0]),
            )
            for b, start in enumerate(starts)
        ]  # fmt: skip
        for b, found in enumerate(self._llm.generate(requests, sampling, use_tqdm=False)):
            for r in range(rows):
                response = found.outputs[r % len(found.outputs)]
                end = starts[b] + len(response.token_ids)
                tokens[b, r, starts[b] : end] = torch.tensor(response.token_ids)
                sampled[b, r, starts[b] : end] = True
                complete[b, r] = response.finish_reason == "stop"
        return Samples(tokens, sampled, complete)
