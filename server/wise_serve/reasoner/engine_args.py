"""`--engine-args`: any argument of vLLM's engine, checked by name before anything is loaded."""

import ast
import difflib
import functools
import importlib.util
import json
from pathlib import Path
from typing import Any, Final

# Arguments that the server sets from its own flags: the argument, and that flag.
_OWNED: Final = {
    "model": "--reasoner",
    "max_num_batched_tokens": "--max-batched-tokens",
    "max_num_seqs": "--max-inflight-requests",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "kv_cache_memory_bytes": "--kv-cache-bytes",
    "mm_processor_cache_gb": "--engine-image-cache-bytes",
    "structured_outputs_config": "--structured-answers",
    "speculative_config": "--ngram-tokens",
    "enable_log_requests": "--log-level debug",
    "enable_lora": "--reasoner-lora",
    "max_loras": "--reasoner-lora",
}
_FIXED: Final = {
    "stop": "generation always stops at </answer>",
    "limit_mm_per_prompt": "a request has exactly one image",
    "generation_config": "decoding is greedy",
    "override_generation_config": "decoding is greedy",
    "seed": "decoding is greedy",
    "enable_prefix_caching": "further queries about an image depend on it",
    "trust_remote_code": "code from a checkpoint is never run",
    "disable_log_stats": "/metrics needs them",
    "worker_extension_cls": "it names code of this server",
    **dict.fromkeys(
        (
            "nnodes",
            "node_rank",
            "data_parallel_rank",
            "data_parallel_start_rank",
            "data_parallel_size_local",
            "data_parallel_address",
            "data_parallel_external_lb",
            "data_parallel_hybrid_lb",
        ),
        "a server's engine runs on one machine; docs/scaling.md says how several machines share",
    ),
}


class EngineArgsError(ValueError):
    """`--engine-args` cannot be used; the message says why."""


def read_engine_args(text: str) -> dict[str, Any]:
    """The arguments in `--engine-args`. Raises EngineArgsError."""
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise EngineArgsError(f"--engine-args is not JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise EngineArgsError(
            '--engine-args must be a JSON object, such as {"quantization": "fp8"}.'
        )
    for name in arguments:
        if name in _OWNED:
            raise EngineArgsError(f"--engine-args: '{name}' is set by {_OWNED[name]}.")
        if name in _FIXED:
            raise EngineArgsError(f"--engine-args: '{name}' cannot be set: {_FIXED[name]}.")
        known = engine_fields()
        if known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise EngineArgsError(f"--engine-args: vLLM's engine has no argument '{name}'.{hint}")
    return arguments


@functools.cache
def engine_fields() -> frozenset[str]:
    """The fields of vLLM's AsyncEngineArgs; empty if vLLM is not installed.

    They are read from its source, because importing vLLM takes seconds.
    """
    package = importlib.util.find_spec("vllm")
    if package is None or package.origin is None:
        return frozenset()
    path = Path(package.origin).parent / "engine" / "arg_utils.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.target.id
        for owner in tree.body
        if isinstance(owner, ast.ClassDef) and owner.name in ("EngineArgs", "AsyncEngineArgs")
        for node in owner.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    )
