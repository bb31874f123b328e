# syntax=docker/dockerfile:1
# One image for every node and for the driver: Ray wants the same Python and the same Ray on all of them.
#
#   docker build -t ragdist:0.2.0 .                                                            CUDA, for GPUs
#   docker build -t ragdist:0.2.0-cpu --build-arg TORCH=cpu --build-arg TORCH_INDEX_URL=URL .  URL: PyTorch's CPU builds
#
# A package index that wants a password: --secret id=pip,src=pip.conf. It is in no layer.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH=cuda
ARG TORCH_INDEX_URL=
ARG EXTRAS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/ragdist
ENV PATH=/opt/ragdist/bin:$PATH
# torch and torchvision first, from one index: a torchvision built for another torch loads no operators. Nothing of
# ragdist is copied yet, so this layer, the largest by far, is built once for many versions of it.
# hadolint ignore=DL3013
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    if [ "$TORCH" = cpu ] && [ -z "$TORCH_INDEX_URL" ]; then \
        echo 'TORCH=cpu needs --build-arg TORCH_INDEX_URL=: the index of PyTorch CPU builds' >&2; exit 1; fi; \
    pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -c constraints.txt torch torchvision
# Then all else that it depends on, from the file that names it: a package without a module yet, and a layer of its own.
COPY pyproject.toml README.md LICENSE ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"
COPY ragdist ragdist
COPY tune tune
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --force-reinstall . && \
    python -c "import torch, torchvision.io, ray, ragdist; kind = 'cuda' if torch.version.cuda else 'cpu'; \
assert kind == '$TORCH', f'TORCH=$TORCH, and the index gave a {kind} build'"


FROM ${PYTHON_IMAGE}
# bash runs what KubeRay starts, wget its probes, openssl makes certificates (cluster/kuberay/components/tls), procps is
# for people, and rsync for `ray up`. Debian keeps no old versions to pin: the base image's digest is the pin.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends bash ca-certificates openssl procps rsync tini wget && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 1000 --create-home ragdist
COPY --from=build /opt/ragdist /opt/ragdist
# Authentication is on, and no token is in the image: without one no Ray node starts. Usage statistics stay here.
ENV PATH=/opt/ragdist/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 1000:1000
WORKDIR /home/ragdist
# On a Ray node: does the cluster's head answer? Else: is the installation whole?
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["/bin/bash", "-c", "if pgrep -x raylet; then ray health-check; else python -c 'import torch, ragdist'; fi"]
# SIGTERM goes to the one process that tini starts: `ray start --block` drains the node, where Ray's own processes, sent
# it themselves, would just end.
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "ragdist.train", "--help"]
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ragdist" \
      org.opencontainers.image.description="Train relatively augmented GANs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
