"""The same server on Ray Serve, for more than one machine: `serve run wise_serve.ray:app`.

    caller -> Ray's HTTP proxy -> Ingress (our application: admission, keys, images, the pipeline)
                                     |-> Reasoner replicas    (vLLM)    chosen by image digest
                                     |-> Segmenter replicas   (SAM 2)   chosen by image digest

The pipeline does not change: `RemoteReasoner` and `RemoteSegmenter` stand for the replicas behind
its two protocols. Needs the extra `wise-serve[ray]`.
"""

from wise_serve.ray.application import app

__all__ = ["app"]
