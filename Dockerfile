# The gateway as an image; deploy/image.md says how it is built, run and upgraded.
#
# Both stages stand on this one, so that the environment's interpreter is the same in both.
ARG BASE_IMAGE=docker.io/library/python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# checkov:skip=CKV_DOCKER_7: tag and digest stand in BASE_IMAGE
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
# Of all that goes into the wheel, so that the same source makes the same wheel.
ENV SOURCE_DATE_EPOCH=1577836800
WORKDIR /src

# Neither pip nor setuptools is in what is copied from here.
RUN python3 -m venv --without-pip /opt/gateway && python3 -m venv /opt/pip
# What the gateway stands on changes seldom: a layer of its own, and nothing that is not known by hash.
COPY deploy/image/requirements.txt deploy/image/build.txt deploy/image/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/pip/bin/pip install --require-hashes --only-binary :all: -r deploy/image/build.txt \
    && /opt/pip/bin/pip --python /opt/gateway/bin/python install --no-compile --require-hashes \
    --only-binary :all: -r deploy/image/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN /opt/pip/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/pip/bin/pip --python /opt/gateway/bin/python install --no-cache-dir --no-compile \
    --no-deps --no-index /wheel/*.whl
# Libraries' own tests are a sixth of their size. Bytecode that does not look at its source's date
# stays right whatever a registry or a file system does to dates.
RUN find /opt/gateway/lib -type d -name tests -prune -exec rm -rf {} + \
    && /opt/gateway/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/gateway/lib

FROM ${BASE_IMAGE} AS runtime
# Kept equal to gateway.__version__ by a test.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="branch-gateway" \
      org.opencontainers.image.description="Serves the models of a git repository's branches, split between users" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

# Debian keeps no older versions of a package, so a pinned one could not be built after the next
# security update; what release they come from, the base's digest says.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git git-lfs openssh-client tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/* \
    # A user that ssh and git find by its number, who owns one folder and can become nobody else.
    && groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid 10001 --no-log-init --home-dir /tmp --no-create-home \
    --shell /usr/sbin/nologin gateway \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/gateway \
    && install -d /etc/gateway \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && chmod 0755 /var/tmp /run/lock \
    # The base brings its library without bytecode, which a read-only root could never add.
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && rm -rf /tmp/*
COPY --from=build /opt/gateway /opt/gateway

ENV PATH=/opt/gateway/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/gateway
VOLUME ["/var/lib/gateway"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["gateway", "healthcheck", "/etc/gateway/gateway.yaml"]
ENTRYPOINT ["/usr/bin/tini", "--", "gateway"]
CMD ["serve", "/etc/gateway/gateway.yaml"]
