# Two images from one file, of one Salt release; `make image` builds both, and labels them with the commit.
#   docker build --target sidecar -t salt-sidecar .
#   docker build --target salt -t salt .            a master or a minion
# There is no `# syntax=` line, no heredoc and no `--link`, so that the frontend built into docker 20.10 builds it as BuildKit upstream does.
#
# The same commit gives the same layers on the same base image and the same Debian packages: docs/install-compose.md. For that, a stage puts what goes
# further below a folder of its own (/base, /extras, /app), dates it, and COPY lays that folder over `/`: folders inside of it keep their date, while the
# folder that a COPY names as its target is dated with the hour. Where a RUN of the images installs packages, requirements/image/settle does the rest.

# Renew it: docker buildx imagetools inspect python:3.13-slim-trixie. The digest is that of the index of all architectures. Another base image has another
# digest, or none: give both arguments, because both are labels.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
ARG PYTHON_DIGEST=sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
ARG VERSION=0.1.0
# One of the lock files' releases, requirements/runtime-*.txt: that of the master.
ARG SALT_VERSION=3008.3

FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@}${PYTHON_DIGEST} AS build
WORKDIR /src
# Versions are the base image's release; nothing of this stage but the environment goes further. Python's headers are in /usr/local in the
# official image, and come with python3-dev elsewhere.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
# No Python of uv's own, and no link into a cache that is not in the image. Bytecode by the hash of its source, not by its hour; compiled code without the
# folder it was compiled in.
ENV UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_CACHE_DIR=/root/.cache/uv \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    PYTHONHASHSEED=0 \
    CFLAGS=-g0 \
    SOURCE_DATE_EPOCH=315532800
COPY requirements/installer requirements/uv.txt requirements/build.txt requirements/
# A package index of your own, for the installer and for the rest.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
RUN --mount=type=cache,target=/root/.cache requirements/installer
COPY requirements/runtime-*.txt requirements/
ARG SALT_VERSION
# An environment without pip; what builds Salt is pinned too, and is not in it. `lib/python3` is for PYTHONPATH below. The two files in etc are those that
# builders mount: where the base image lacks them, each RUN would date `/etc`.
RUN --mount=type=cache,target=/root/.cache \
    lock="requirements/runtime-${SALT_VERSION%%.*}.txt" \
    && { grep -q "^salt==${SALT_VERSION} " "$lock" || { echo "SALT_VERSION=${SALT_VERSION}: the lock files have only"; grep -ho '^salt==[0-9.]*' requirements/runtime-*.txt; exit 1; }; } \
    && .uv/bin/uv venv --python "$(command -v python3)" /opt/venv \
    && ln -s "$(ls /opt/venv/lib)" /opt/venv/lib/python3 \
    && .uv/bin/uv pip sync --python /opt/venv/bin/python --require-hashes --build-constraints requirements/build.txt --require-build-hashes "$lock" \
    && .uv/bin/uv pip check --python /opt/venv/bin/python \
    && mkdir -p /base/etc && touch /base/etc/hosts /base/etc/resolv.conf && cp --archive --link /opt /base/ \
    && find /base -exec touch --no-dereference --date=1980-01-01Z {} +

# What only a master needs: LDAP logins, and gitfs.
FROM build AS extras
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libldap-dev libsasl2-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/master-extras.txt requirements/
RUN --mount=type=cache,target=/root/.cache \
    .uv/bin/uv pip install --python /opt/venv/bin/python --prefix /extras/opt/venv --no-deps --require-hashes --build-constraints requirements/build.txt \
        --require-build-hashes -r requirements/master-extras.txt \
    && find /extras -exec touch --no-dereference --date=1980-01-01Z {} +

FROM build AS app
# For a `jobs.store` in PostgreSQL, and for id tokens; a process imports each only when its settings ask for it.
COPY requirements/postgres.txt requirements/oidc.txt requirements/
RUN --mount=type=cache,target=/root/.cache \
    .uv/bin/uv pip install --python /opt/venv/bin/python --prefix /app/opt/venv --no-deps --require-hashes --only-binary :all: \
        -r requirements/postgres.txt -r requirements/oidc.txt \
    && PYTHONPATH="$(echo /app/opt/venv/lib/python3*/site-packages)" /opt/venv/bin/python -B -c 'import psycopg, psycopg_pool, jwt'
ARG VERSION
COPY pyproject.toml README.md LICENSE ./
COPY service service
# uv notes the hour of the wheel beside what it installs from a folder.
RUN --mount=type=cache,target=/root/.cache \
    .uv/bin/uv build --python /opt/venv/bin/python --wheel --build-constraints requirements/build.txt --require-hashes --out-dir /wheels . \
    && .uv/bin/uv pip install --python /opt/venv/bin/python --prefix /app/opt/venv --no-cache --no-deps --no-index --find-links /wheels "salt-sidecar==${VERSION}" \
    && find /app -name uv_cache.json -delete && sed -i /uv_cache.json/d /app/opt/venv/lib/python3*/site-packages/salt_sidecar-*.dist-info/RECORD \
    && find /app -exec touch --no-dereference --date=1980-01-01Z {} +

FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@}${PYTHON_DIGEST} AS runtime
COPY --from=build /base/ /
# The same uid and gid as the official Salt packages' images; Salt asks /etc/passwd for its name. Volumes are mounted at these folders, and a new
# named volume takes their owner.
# hadolint ignore=DL3008
RUN --mount=type=bind,source=requirements/image,target=/mnt \
    began=$(date +%s) \
    && apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
    && groupadd --gid 450 salt \
    && SOURCE_DATE_EPOCH=315532800 useradd --uid 450 --gid 450 --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin salt \
    && install -d -o salt -g salt -m 0750 /etc/salt /etc/salt/pki /srv/salt /var/cache/salt /var/lib/salt /var/lib/salt-sidecar /run/salt \
    /etc/salt/pki/master /etc/salt/pki/master/minions /etc/salt/pki/master/minions_pre /etc/salt/pki/master/minions_rejected /etc/salt/pki/master/minions_denied \
    /var/cache/salt/master /var/cache/salt/master/tokens \
    && sh /mnt/settle "$began"
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
WORKDIR /tmp
ARG PYTHON_IMAGE
ARG PYTHON_DIGEST
ARG VERSION
ARG SALT_VERSION
# Of the commit: `make image` knows them, and without it they are empty.
ARG REVISION
ARG CREATED
ARG SOURCE_URL
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="salt-sidecar" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE_URL}" \
      org.opencontainers.image.url="${SOURCE_URL}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.base.digest="${PYTHON_DIGEST}" \
      salt.version="${SALT_VERSION}"

FROM runtime AS salt
COPY --from=extras /extras/ /
# Further packages of Debian, for states, pillars and returners of yours, and for gitfs by the provider `gitcli`: "git openssh-client".
ARG MASTER_PACKAGES=
# Without `ip` a minion has no addresses in its grains: nobody targets it by subnet, and the master's presence events do not call it connected.
# The pattern is LDAP's library in any release of Debian.
# hadolint ignore=DL3008,SC2086
RUN --mount=type=bind,source=requirements/image,target=/mnt \
    began=$(date +%s) \
    && apt-get update \
    && apt-get install -y --no-install-recommends iproute2 '^libldap-?2([.][0-9]+-[0-9]+)?$' ${MASTER_PACKAGES} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
    && python -c 'import ldap, pygit2' \
    && sh /mnt/settle "$began"
USER 450:450
LABEL org.opencontainers.image.title="salt" \
      org.opencontainers.image.description="A salt-master or salt-minion for a container with a read-only root, uid 450 and no capabilities."
# For eauth `pam`: Salt follows the link that /opt/venv/bin/python is, and starts a Python that knows nothing of the environment. docs/eauth.md
ENV PYTHONPATH=/opt/venv/lib/python3/site-packages
EXPOSE 4505 4506
ENTRYPOINT ["tini", "--"]
CMD ["salt-master", "--log-level=info"]

FROM runtime AS sidecar
COPY --from=app /app/ /
USER 450:450
ARG REVISION
# Shown in salt_api_build_info.
ENV SALT_SIDECAR_REVISION="${REVISION}" \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0
LABEL org.opencontainers.image.title="salt-sidecar" \
      org.opencontainers.image.description="A sidecar for the salt-master that turns HTTP into Salt calls."
EXPOSE 8001 9175
HEALTHCHECK --interval=10s --timeout=30s --start-period=300s --retries=3 CMD ["salt-sidecar", "health"]
ENTRYPOINT ["tini", "--", "salt-sidecar"]
CMD ["serve"]
