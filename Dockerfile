# syntax=docker/dockerfile:1
# Two images of one server. `docker build --target gpu .` on vLLM's own image; `--target cpu .` on
# slim Python, for machines without a GPU. Both run as user 10001 on a read-only root: they write only
# to /cache (weights and compiled kernels) and /tmp.

ARG VLLM_IMAGE=vllm/vllm-openai:v0.33.0
ARG PYTHON_IMAGE=python:3.11-slim


# ---- wheels: this project, built once for both targets
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY server server
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .


# ---- cpu: everything is installed into /opt/wise, which the final stage copies
FROM ${PYTHON_IMAGE} AS cpu-install
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
# The CPU build of torch comes from its own index if the configured one does not have it.
# sam2 is built against the installed torch, and without its CUDA kernel. The published torchaudio and
# torchcodec are built for CUDA: with a CPU torch their import fails.
RUN python -m venv /opt/wise \
 && /opt/wise/bin/python -m pip install --no-cache-dir --constraint /wheels/constraints.txt \
      setuptools wheel \
 && { /opt/wise/bin/python -m pip install --no-cache-dir --constraint /wheels/constraints.txt torch \
   || /opt/wise/bin/python -m pip install --no-cache-dir --constraint /wheels/constraints.txt \
      --extra-index-url ${TORCH_CPU_INDEX} torch; } \
 && SAM2_BUILD_CUDA=0 /opt/wise/bin/python -m pip install --no-cache-dir --no-build-isolation \
      --constraint /wheels/constraints.txt "$(ls /wheels/wise_serve-*.whl)[cpu,otel]" \
 && /opt/wise/bin/python -m pip uninstall --yes torchaudio torchcodec


FROM ${PYTHON_IMAGE} AS cpu
LABEL org.opencontainers.image.title="wise-serve (CPU)" \
      org.opencontainers.image.description="Language segmentation at high throughput, on CPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# libgomp1: torch's threads. libnuma1: vLLM's C library is linked to it. libtcmalloc-minimal4: the
# models' memory (docs/decisions/0015). tini: signals reach the server, and orphans are reaped. The
# versions are those of the base image's Debian release.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 libnuma1 libtcmalloc-minimal4 tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=cpu-install /opt/wise /opt/wise
RUN mkdir -p /cache && chown 10001:10001 /cache
# Some libraries read the user's name from USER: number 10001 has no entry in /etc/passwd.
ENV PATH=/opt/wise/bin:$PATH HOME=/cache USER=wise XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface PYTHONUNBUFFERED=1 WISE_HOST=0.0.0.0 WISE_PORT=8000 WISE_DEVICE=cpu
VOLUME ["/cache"]
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['WISE_PORT']}/readyz\", timeout=4)"]
ENTRYPOINT ["/usr/bin/tini", "--", "wise-serve"]
CMD ["serve"]


# ---- gpu: vLLM, torch and CUDA are those of the base image
FROM ${VLLM_IMAGE} AS gpu
LABEL org.opencontainers.image.title="wise-serve (GPU)" \
      org.opencontainers.image.description="Language segmentation at high throughput, on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# root, for the installation only; the last USER is the one who runs the server.
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
COPY constraints-gpu.txt /wheels/
# torch, CUDA and vLLM stay exactly those of the image; the other packages have the versions of `make
# setup STACK=gpu`.
RUN python3 -m pip list --format=freeze > /tmp/all.txt \
 && grep -E '^(torch|torchvision|torchaudio|triton|vllm)==' /tmp/all.txt > /tmp/kept.txt \
 && grep -vE '^(torch|torchvision|torchaudio|triton|vllm|nvidia-.*|cuda-.*)==' \
      /wheels/constraints-gpu.txt >> /tmp/kept.txt \
 && SAM2_BUILD_CUDA=0 python3 -m pip install --no-cache-dir --no-build-isolation \
      --constraint /tmp/kept.txt "$(ls /wheels/wise_serve-*.whl)[gpu,otel]" \
 && rm /tmp/all.txt /tmp/kept.txt
RUN mkdir -p /cache && chown 10001:10001 /cache
ENV HOME=/cache USER=wise XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface \
    VLLM_CACHE_ROOT=/cache/vllm TRITON_CACHE_DIR=/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor PYTHONUNBUFFERED=1 WISE_HOST=0.0.0.0 WISE_PORT=8000 WISE_DEVICE=cuda
VOLUME ["/cache"]
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['WISE_PORT']}/readyz\", timeout=4)"]
ENTRYPOINT ["/usr/bin/tini", "--", "wise-serve"]
CMD ["serve"]
