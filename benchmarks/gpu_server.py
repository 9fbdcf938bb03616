"""Part of `gpu.py`: the whole server under load, its segmenter on the device.

If vLLM is installed, the reasoner has Qwen2.5-VL-7B's size and is forced to write an answer of the
published length. Otherwise a stand-in waits for the same time; the figures then say so.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from gpu_part import Options
from load import Case, Run, closed_loop, make_cases
from rehearsal_checkpoint import write_configuration, write_segmenter
from rehearsal_published import PUBLISHED, SMALL
from rehearsal_texts import TEXTS, grammar
from running import running_server
from wise_serve.settings import MINIATURE

HERE = Path(__file__).parent
STAND_IN, SCRIPTED = HERE / "stand_in_server.py", HERE / "rehearsal_server.py"
IMAGES = 256  # of the whole domain, up to 2048 pixels a side; asked about again in other pixels
QUALITIES = (90, 89, 88, 87)
AT_REST = 16


def run(options: Options) -> None:
    """Measure at rest, then under load in rounds of new images until half the time is over."""
    figures: dict[str, Any] = {"in_flight": options.in_flight}
    count = 2 * options.in_flight if options.small else IMAGES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        flags, environment, script = _server(folder, options, figures)
        server = stack.enter_context(
            running_server(
                *flags, script=script, ready_within_s=max(options.left_s, 1), **environment
            )
        )
        rest = closed_loop(server.url, make_cases(AT_REST, 1), 1)
        figures["at_rest"] = _figures(rest)
        options.save(figures)
        for seed, quality in enumerate(QUALITIES):
            cases: Sequence[Case] = make_cases(count, 2 + seed, quality)
            loaded = closed_loop(server.url, cases, options.in_flight)
            figures["loaded"] = _figures(loaded)  # of the last round: the first warms up
            options.save(figures)
            if options.left_s < 3 * loaded.took_s or (options.small and seed):
                break


def _figures(run: Run) -> dict[str, Any]:
    timings = [answer.timing for answer in run.answers]
    encode_ms = sum(timing.encode_ms for timing in timings)
    hidden_ms = sum(min(timing.encode_ms, timing.reason_ms) for timing in timings)
    return {
        "requests": len(run.answers),
        "requests_per_s": round(run.rate, 3),
        "p50_ms": round(run.quantile_ms(0.5), 1),
        "p99_ms": round(run.quantile_ms(0.99), 1),
        "segment_ms": round(sum(t.segment_ms for t in timings) / len(timings), 2),
        "encode_hidden": round(hidden_ms / encode_ms, 4) if encode_ms else 1.0,
        "found": sum(answer.status == "found" for answer in run.answers),
    }


def _server(
    folder: Path, options: Options, figures: dict[str, Any]
) -> tuple[list[str], dict[str, str], Path]:
    """Flags, environment and script of the server; names the reasoner in the figures."""
    form = SMALL if options.small else PUBLISHED
    hub, segmenter = folder / "hub", MINIATURE if options.small else form.segmenter
    if not options.small:
        write_segmenter(hub, segmenter)
    tests = str(HERE.parent / "tests")
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(hub),
        # So that the server's processes find the same modules as this one.
        "PYTHONPATH": os.pathsep.join([str(HERE), tests, *filter(None, sys.path)]),
    }
    flags = ["--port", "0", "--device", options.device, "--segmenter", segmenter]
    flags += ["--max-inflight-requests", str(options.in_flight)]
    if not options.vllm or importlib.util.find_spec("vllm") is None:
        figures["reasoner"] = "timed stand-in, 8 ms a token"
        return flags, environment, STAND_IN
    figures["reasoner"] = "vLLM"
    reasoner, texts = folder / "reasoner", folder / "texts.json"
    reasoner.mkdir()
    write_configuration(reasoner, form)
    token_ids = AutoTokenizer.from_pretrained(reasoner).encode(TEXTS[0].text)
    texts.write_text(json.dumps({"": grammar(token_ids)}))  # every prompt holds the empty text
    flags += ["--reasoner", str(reasoner), "--structured-answers"]
    return [str(texts), *flags], environment, SCRIPTED
