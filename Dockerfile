# Two images from one file, of one Salt version:
#   docker build --target sidecar -t salt-sidecar .
#   docker build --target salt -t salt .            a master or a minion
# There is no `# syntax=` line, no heredoc and no `--link`, so that the frontend built into docker 20.10 builds it as BuildKit upstream does.

# Renew both halves: docker buildx imagetools inspect python:3.11-slim-bookworm
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON_IMAGE} AS build
# The series whose lock file is installed: 3008, 3007 or 3006; that of the master.
ARG SALT_VERSION=3008
WORKDIR /src
# Versions are the base image's release; nothing of this stage but the environment goes further. Python's headers are in /usr/local in the
# official image, and come with python3-dev elsewhere.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /build \
    && /build/bin/pip install --disable-pip-version-check --require-hashes -r requirements/build.txt
COPY requirements/runtime-${SALT_VERSION}.txt requirements/
# Wheels first, then an environment without pip and compiler; pip compiles the bytecode.
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/bin/pip wheel --disable-pip-version-check --no-build-isolation --require-hashes -r requirements/runtime-${SALT_VERSION}.txt --wheel-dir /wheels \
    && python3 -m venv --without-pip /opt/venv \
    && ln -s "$(ls /opt/venv/lib)" /opt/venv/lib/python3 \
    && /build/bin/pip --disable-pip-version-check --python /opt/venv/bin/python install --no-index --no-deps /wheels/*.whl

FROM build AS app
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN /build/bin/pip --disable-pip-version-check wheel --no-deps --no-build-isolation --no-index --wheel-dir /own . \
    && /build/bin/pip --disable-pip-version-check --python /opt/venv/bin/python install --no-index --no-deps --prefix /app /own/*.whl

FROM ${PYTHON_IMAGE} AS runtime
# The same uid and gid as the official Salt packages' images; Salt asks /etc/passwd for its name. Volumes are mounted at these folders, and a new
# named volume takes their owner.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && groupadd --gid 450 salt \
    && useradd --uid 450 --gid 450 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin salt \
    && install -d -o salt -g salt -m 0750 /etc/salt /etc/salt/pki /srv/salt /var/cache/salt /var/lib/salt /run/salt \
    /etc/salt/pki/master /etc/salt/pki/master/minions /etc/salt/pki/master/minions_pre /etc/salt/pki/master/minions_rejected /etc/salt/pki/master/minions_denied
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
USER 450:450
WORKDIR /tmp
ARG SALT_VERSION=3008
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
# Shown in salt_api_build_info.
ENV SALT_SIDECAR_REVISION="${REVISION}"
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="salt-sidecar" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      salt.version="${SALT_VERSION}"

FROM runtime AS salt
USER 0:0
# Without `ip` a minion has no addresses in its grains: nobody targets it by subnet, and the master's presence events do not call it connected.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 450:450
LABEL org.opencontainers.image.title="salt" \
      org.opencontainers.image.description="A salt-master or salt-minion for a container with a read-only root, uid 450 and no capabilities." \
      org.opencontainers.image.documentation="docs/install-compose.md"
# For eauth `pam`: Salt follows the link that /opt/venv/bin/python is, and starts a Python that knows nothing of the environment. docs/eauth.md
ENV PYTHONPATH=/opt/venv/lib/python3/site-packages
EXPOSE 4505 4506
ENTRYPOINT ["tini", "--"]
CMD ["salt-master", "--log-level=info"]

FROM runtime AS sidecar
LABEL org.opencontainers.image.title="salt-sidecar" \
      org.opencontainers.image.description="A sidecar for the salt-master that turns HTTP into Salt calls." \
      org.opencontainers.image.documentation="docs/install-compose.md"
COPY --from=app /app /opt/venv
EXPOSE 8001 9175
HEALTHCHECK --interval=10s --timeout=30s --start-period=300s --retries=3 CMD ["salt-sidecar", "health"]
ENTRYPOINT ["tini", "--", "salt-sidecar"]
CMD ["serve"]
