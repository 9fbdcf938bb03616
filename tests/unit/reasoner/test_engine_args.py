"""`--engine-args`: what reaches vLLM, and one clear error for each mistake."""

import pytest

from wise_serve.reasoner.engine_args import engine_fields, read_engine_args
from wise_serve.reasoner.options import what_is_missing
from wise_serve.settings import Settings


def test_arguments_of_vllm_are_accepted_as_they_are() -> None:
    text = '{"quantization": "fp8", "tensor_parallel_size": 2}'
    assert read_engine_args(text) == {"quantization": "fp8", "tensor_parallel_size": 2}
    assert {"model", "quantization", "enable_log_requests"} <= engine_fields()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"tensor_paralel_size": 2}', "Did you mean 'tensor_parallel_size'"),
        ('{"model": "a/b"}', "set by --reasoner"),
        ('{"stop": ["x"]}', "always stops at </answer>"),
        ('{"limit_mm_per_prompt": {"image": 2}}', "exactly one image"),
        ('{"trust_remote_code": true}', "never run"),
        ('{"nnodes": 2}', "one machine"),
        ('{"data_parallel_external_lb": true}', "one machine"),
    ],
)
def test_each_mistake_is_named_before_anything_is_loaded(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="--engine-args") as caught:
        read_engine_args(text)
    assert said in str(caught.value)
    assert said in what_is_missing(Settings(engine_args=text))
