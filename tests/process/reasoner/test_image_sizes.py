"""The size in which an image is shown, against the checkpoints' own processor in transformers."""

from hypothesis import assume, given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from wise_serve.reasoner.strategies.images import view_of
from wise_serve.reasoner.strategies.strategy import Strategy


def shown_within(least_pixels: int, most_pixels: int, multiple_pixels: int) -> Strategy:
    image = {"least_pixels": least_pixels, "most_pixels": most_pixels}
    image["multiple_pixels"] = multiple_pixels
    return Strategy.model_validate(
        {
            "name": "made",
            "turn": {"template": "{question}"},
            "max_tokens": 9,
            "image": image,
            "coordinates": {"frame": "image"},
        }
    )


@given(
    st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([28, 32]), st.integers(1, 2000),
    st.integers(1, 2000),
)  # fmt: skip
def test_an_image_is_resized_as_the_processor_does_it(
    width: int, height: int, multiple: int, least: int, more: int
) -> None:
    assume(max(width, height) <= 100 * min(width, height))
    least_pixels, most_pixels = least * multiple**2, (least + more) * multiple**2
    strategy = shown_within(least_pixels, most_pixels, multiple)
    wanted = smart_resize(height, width, multiple, least_pixels, most_pixels)
    assert view_of(strategy, (width, height)).size == wanted[::-1]


@given(st.integers(1, 20_000))
def test_an_image_that_the_processor_refuses_is_shown_nonetheless(long: int) -> None:
    width, height = view_of(shown_within(3136, 1003520, 28), (long, 1)).size
    assert width % 28 == height % 28 == 0
    assert 28 <= height <= width
    smart_resize(height, width)  # and this it accepts
