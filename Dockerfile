# Two images with the same tools: `cpu` (the default) and `cuda`.
#   docker build -t uora_bench .                        docker run --rm uora_bench
#   docker build -t uora_bench:cuda --target cuda .     docker run --rm --gpus all uora_bench:cuda
# Both run `make run`. Records and runs are in /home/bench/uora_bench; mount results/ and runs/ to keep them.

FROM python:3.11-slim-bookworm AS base
# Debian's mirrors keep only the newest version of a package
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 bench
USER 1000
WORKDIR /home/bench/uora_bench
ENV OMP_NUM_THREADS=1 PIP_NO_CACHE_DIR=1

# torch from PyPI brings its own CUDA libraries; the host needs only NVIDIA's driver and container toolkit
FROM base AS cuda
COPY --chown=bench:bench . .
RUN make install
CMD ["make", "run"]

# the same version of torch without CUDA, from the index of the PyTorch project
FROM base AS cpu
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY --chown=bench:bench . .
RUN make install
CMD ["make", "run"]
