"""The segmenter's process: `python -m wise_serve.segmenter.worker.main --fd N`.

`supervisor/client.py` starts it with one end of a Unix socket pair as descriptor N. It ends when
the gateway asks it to, when the gateway is gone (end of file on the socket; the kernel also ends it
then), or when its device is lost. Logs are JSON lines on stderr.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from wise_serve.contract.errors import NotReady
from wise_serve.observe.logs import JsonLines
from wise_serve.processes import die_with
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.compiled import compiler_for
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers
from wise_serve.segmenter.sam2.stages import Features
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import WorkerChannel
from wise_serve.segmenter.worker.batcher import Batcher
from wise_serve.segmenter.worker.cache import EmbeddingCache
from wise_serve.segmenter.worker.service import Service
from wise_serve.segmenter.worker.warm_up import Sizes, warm_up

log = logging.getLogger("wise_serve.segmenter")

_EXIT_DEVICE_LOST = 70
_EXIT_NOT_STARTED = 71
_CONFIGURE_DEADLINE_S = 30.0


class DeviceModel:
    """SAM 2 on a torch device, as `segmenter.model.Model`."""

    def __init__(self, wanted: protocol.Configure, device: torch.device) -> None:
        compiler = None
        if wanted.compile:
            compiler = compiler_for(device, wanted.encode_batch_size, wanted.decode_batch_size)
        levers = Levers(wanted.precision, tf32=wanted.tf32, compiler=compiler)
        model = load_model(wanted.segmenter, device, wanted.segmenter_config)
        self._sam = Sam2(model, device, levers)

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Features]:
        """Embed H x W x 3 uint8 RGB images in one batch.

        Returns when the device is done. So the next batch fills while the device works, measured
        times are right, and errors are raised for the batch that caused them.
        """
        embeddings = self._sam.encode(images)
        self._sam.wait()
        return embeddings

    def decode(self, items: Sequence[DecodeItem[Features]]) -> Sequence[DecodedMask]:
        """One mask for each item, in one batch."""
        return self._sam.decode(items)

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether a smaller batch may fit. torch raises a plain RuntimeError on CPUs."""
        return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
            isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
        )

    def is_fatal(self, error: Exception) -> bool:
        """Whether later calls would fail too, as after most CUDA errors."""
        if self.is_out_of_memory(error):
            return False
        return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


MakeModel = Callable[[protocol.Configure, torch.device], DeviceModel]


def main(make_model: MakeModel = DeviceModel) -> None:
    """Serve the gateway at the other end of the descriptor. `make_model` loads the model."""
    parser = argparse.ArgumentParser(description="The segmenter worker; started by wise-serve.")
    parser.add_argument("--fd", type=int, required=True, help="socket to the gateway")
    arguments = parser.parse_args()
    die_with(os.getppid())
    # Ctrl-C, systemd and `timeout` signal the whole group, but only the gateway ends a worker: it
    # finishes its requests and then sends Stop. Programs started here do not inherit a handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    channel = WorkerChannel(socket.socket(fileno=arguments.fd))
    configuration = _configuration(channel)
    _set_up_logs(configuration.log_level)
    try:
        model, device = _load(configuration, make_model)
    except Exception as error:
        reason = str(error) if isinstance(error, NotReady) else "The segmenter could not be loaded."
        log.exception("the segmenter could not be loaded")
        channel.send(protocol.NotStarted(reason))
        sys.exit(_EXIT_NOT_STARTED)
    work: Batcher[Features] = Batcher(
        encode_batch_size=configuration.encode_batch_size,
        decode_batch_size=configuration.decode_batch_size,
        wait_s=configuration.batch_wait_ms / 1e3,
        max_queue=configuration.max_queue,
        cache=EmbeddingCache(configuration.cache_bytes),
    )
    service = Service(channel, model, work, configuration.heartbeat_every_s)
    channel.send(protocol.Ready(str(device)))
    threading.Thread(target=_receive, args=(service,), daemon=True).start()
    try:
        service.drive()
    except Exception:
        log.exception("the device is lost; the worker ends")
        _exit(_EXIT_DEVICE_LOST)
    _exit(0)


def _configuration(channel: WorkerChannel) -> protocol.Configure:
    try:
        for message, _ in channel.receive(_CONFIGURE_DEADLINE_S):
            if isinstance(message, protocol.Configure):
                return message
    except EOFError:
        pass
    sys.exit(_EXIT_NOT_STARTED)


def _set_up_logs(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())  # omits messages of exceptions, which may quote a request
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(level.upper())


def _load(
    configuration: protocol.Configure, make_model: MakeModel
) -> tuple[DeviceModel, torch.device]:
    torch.set_num_threads(configuration.threads)
    device = torch.device(configuration.device)
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if (device.index or 0) >= gpus:
            raise NotReady(f"There is no device {device}: torch finds {gpus} GPUs.")
        torch.cuda.set_device(device)  # for code that only says "cuda", such as graphs and streams
    model = make_model(configuration, device)
    largest = None
    if device.type != "cpu":
        largest = Sizes(
            configuration.encode_batch_size,
            configuration.decode_batch_size,
            configuration.cache_bytes,
        )
    warm_up(model, largest)
    return model, device


def _receive(service: Service[Features]) -> None:
    try:
        service.receive()
    except (EOFError, OSError):
        _exit(0)  # the gateway is gone: nobody waits for running work
    except Exception:
        log.exception("the gateway sent something that cannot be read; the worker ends")
        _exit(1)


def _exit(code: int) -> NoReturn:
    """End the process at once: the clean-up of a library may hang if the device is lost."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
