"""A segmenter worker without a model, for tests of its supervisor: it is ready at once."""

import socket
import sys

from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import WorkerChannel

BEAT_S = 0.05


def main() -> None:
    """Send heartbeats until `Stop`, or until the gateway is gone."""
    channel = WorkerChannel(socket.socket(fileno=int(sys.argv[-1])))
    next(channel.receive(30))  # Configure
    channel.send(protocol.Ready("cpu"))
    while True:
        channel.send(protocol.Heartbeat(0))
        for message, _ in channel.receive(BEAT_S):
            if isinstance(message, protocol.Stop):
                return


if __name__ == "__main__":
    main()
