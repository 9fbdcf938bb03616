"""What the server uses of vLLM, with signatures, read from vLLM's source without importing it.

`python deploy/vllm_surface.py WHEEL` writes deploy/vllm_surface.json from a wheel of the GPU build;
tests/unit/reasoner/test_vllm_surface.py compares the installed build with it. Nothing is installed.
"""

import ast
import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

RECORD: Final = Path(__file__).with_suffix(".json")
# Module: names in it. A dotted name is a class's method, property, field, or attribute that its
# methods set; a class's own name is the signature of its `__init__`, if it has one.
USED: Final = {
    "vllm.engine.arg_utils": [
        *("AsyncEngineArgs", "EngineArgs.create_engine_config", "EngineArgs.model"),
        *("EngineArgs.seed", "EngineArgs.trust_remote_code", "EngineArgs.generation_config"),
        *("EngineArgs.limit_mm_per_prompt", "EngineArgs.enable_prefix_caching"),
        *("EngineArgs.max_num_batched_tokens", "EngineArgs.max_num_seqs"),
        *("EngineArgs.max_model_len", "EngineArgs.mm_processor_cache_gb"),
        *("EngineArgs.disable_log_stats", "AsyncEngineArgs.enable_log_requests"),
        *("EngineArgs.structured_outputs_config", "EngineArgs.speculative_config"),
        *("EngineArgs.dtype", "EngineArgs.kv_cache_memory_bytes", "EngineArgs.block_size"),
        *("EngineArgs.enforce_eager", "EngineArgs.distributed_executor_backend"),
        *("EngineArgs.worker_extension_cls", "EngineArgs.gpu_memory_utilization"),
        *("EngineArgs.enable_lora", "EngineArgs.max_loras", "EngineArgs.max_lora_rank"),
    ],
    "vllm.v1.engine.async_llm": [
        *("AsyncLLM.from_vllm_config", "AsyncLLM.generate", "AsyncLLM.shutdown"),
        *("AsyncLLM.errored", "AsyncLLM.get_tokenizer", "AsyncLLM.model_config"),
        *("AsyncLLM.renderer", "AsyncLLM.output_handler", "AsyncLLM.add_lora"),
    ],
    "vllm.exceptions": ["VLLMClientError"],
    "vllm.v1.engine.exceptions": ["EngineDeadError"],
    "vllm.v1.executor.uniproc_executor": ["UniProcExecutor"],
    "vllm.lora.request": [
        *("LoRARequest.lora_name", "LoRARequest.lora_int_id", "LoRARequest.lora_path"),
    ],
    "vllm.renderers.base": ["BaseRenderer.render_cmpl_async"],
    "vllm.renderers.inputs.preprocess": ["parse_model_prompt"],
    "vllm.sampling_params": [
        *("SamplingParams.temperature", "SamplingParams.max_tokens", "SamplingParams.stop"),
        *("SamplingParams.structured_outputs", "SamplingParams.include_stop_str_in_output"),
        *("SamplingParams.output_kind", "SamplingParams.skip_special_tokens"),
        *("RequestOutputKind.DELTA", "StructuredOutputsParams.regex"),
    ],
    "vllm.outputs": [
        *("RequestOutput.outputs", "RequestOutput.prompt_token_ids"),
        *("RequestOutput.num_cached_tokens", "CompletionOutput.text"),
        *("CompletionOutput.token_ids", "CompletionOutput.finish_reason"),
    ],
    "vllm.platforms.interface": ["Platform.import_kernels"],
}
# Only the CPU build runs these (reasoner/inside_vllm/cpu_kernels.py); the GPU build's may differ.
USED_ON_A_CPU: Final = {
    "vllm.model_executor.custom_op": ["CustomOp.register_oot", "CustomOp.forward_cpu"],
    "vllm.model_executor.layers.layernorm": [
        *("RMSNorm.forward_native", "RMSNorm.has_weight"),
        *("RMSNorm.variance_size_override", "RMSNorm.variance_epsilon"),
    ],
    "vllm.model_executor.layers.rotary_embedding.mrope": [
        *("MRotaryEmbedding.forward_native", "MRotaryEmbedding.mrope_section"),
        "MRotaryEmbedding.mrope_interleaved",
    ],
}
Source = Callable[[str], str]


def surface(source: Source, used: dict[str, list[str]]) -> dict[str, str]:
    """Each used name with its signature; 'missing' for what `source` does not have.

    `source` gives a module's text; it raises KeyError for a module that does not exist.
    """
    found: dict[str, str] = {}
    for module, names in used.items():
        try:
            tree = ast.parse(source(module))
        except KeyError:
            tree = ast.Module([], [])
        found |= {f"{module}.{name}": _signature(tree.body, name) for name in names}
    return found


def _signature(body: list[ast.stmt], name: str) -> str:
    first, _, rest = name.partition(".")
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == first:
            if rest:
                return _member(node, rest)
            own = _signature(node.body, "__init__")
            return "class" if own == "missing" else f"class{own.removeprefix('def')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == first:
            kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            return f"{kind}({ast.unparse(node.args)})"
    return "missing"


def _member(owner: ast.ClassDef, name: str) -> str:
    method = _signature(owner.body, name)
    if method != "missing":
        return method
    for node in owner.body:  # a field, or a member of an Enum
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return f"field: {ast.unparse(node.annotation)}"
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return "field"
    for inner in ast.walk(owner):  # set by a method
        targets = inner.targets if isinstance(inner, ast.Assign) else []
        if isinstance(inner, ast.AnnAssign):
            targets = [inner.target]
        if f"self.{name}" in map(ast.unparse, targets):
            return "attribute"
    return "missing"


def installed(module: str) -> str:
    """The text of a module of the installed vLLM."""
    package = importlib.util.find_spec("vllm")
    if package is None or package.origin is None:
        raise KeyError(module)
    base = Path(package.origin).parent.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path.read_text()
    raise KeyError(module)


def main() -> None:
    """Write the record from the wheel that the command names."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:

        def packed(module: str) -> str:
            return wheel.read(f"{module.replace('.', '/')}.py").decode()

        record = {"wheel": Path(sys.argv[1]).name, "names": surface(packed, USED)}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
