"""Checks of what the reasoner needs: its engine's options, its adapters, the images it sees."""

import os
from pathlib import Path

from wise_serve.preflight.checks import Check, Machine
from wise_serve.reasoner.adapters import AdapterError, read_adapters
from wise_serve.reasoner.engine_args import EngineArgsError
from wise_serve.reasoner.options import chosen_options, engine_threads, what_is_missing
from wise_serve.reasoner.strategies.pixels import misfits_of


def engine_options(machine: Machine) -> Check:
    """Check `--engine-args`, and the packages that options of the engine need."""
    found = ", ".join(chosen_options(machine.settings)) or "none chosen"
    missing = what_is_missing(machine.settings)
    return Check("engine options", "failure" if missing else "ok", found, missing)


def engine_cores(machine: Machine) -> Check:
    """Check that the models' threads have a core each, on a CPU."""
    if machine.on_gpu or not machine.reasons:
        return Check("threads", "ok", "not counted: the models do not share the CPU")
    settings, cores = machine.settings, len(os.sched_getaffinity(0))
    # OpenMP allows a list, a number for each level of nesting: torch's threads are the first level.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    engine = (int(first) if first.isdecimal() else 0) or engine_threads(settings)
    segmenter = settings.segmenter_threads * len(settings.segmenter_placements)
    found = f"{engine} of the engine and {segmenter} of the segmenter on {cores} cores"
    if engine + segmenter <= cores:
        return Check("threads", "ok", found)
    advice = (
        "More threads than cores wait for each other: lower --segmenter-workers, "
        "--segmenter-threads or --engine-threads."
    )
    return Check("threads", "warning", found, advice)


def adapters(machine: Machine) -> Check:
    """Check that the LoRA adapters fit the reasoner."""
    settings = machine.settings
    try:
        found = read_adapters(settings, Path(settings.reasoner_checkpoint))
    except AdapterError as error:
        advice = "Name a folder of PEFT's form, trained for this reasoner (docs/strategies.md)."
        return Check("LoRA adapters", "failure", str(error), advice)
    shown = ", ".join(f"{one.name} (rank {one.rank})" for one in found.values())
    return Check("LoRA adapters", "ok", shown or "none given")


def image_sizes(machine: Machine) -> Check:
    """Check that the checkpoint's preprocessor leaves the images of all strategies as they are."""
    if not machine.reasons:
        return Check("image sizes", "ok", "no reasoner is wanted")
    try:
        found = misfits_of(machine.settings, machine.strategies)
    except EngineArgsError:
        found = None  # `engine options` says what is wrong with them
    if found is None:
        return Check("image sizes", "ok", "not compared: the preprocessor's limits are unknown")
    if not found:
        return Check("image sizes", "ok", "the preprocessor resizes no strategy's image")
    worst = next((one for one in found if one.asked_for), found[0])
    if worst.asked_for:
        advice = "Choose a strategy of this checkpoint, or change `image` in the strategy's file."
        return Check("image sizes", "failure", worst.message, advice)
    advice = "Do not ask under this built-in strategy: its coordinates would be wrong."
    return Check("image sizes", "warning", worst.message, advice)
