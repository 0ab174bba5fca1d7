# The coordinator: `osteofed server up` (SuperLink behind nginx), runs, and MLflow's server.
# Build from the project's root: docker build -f docker/server.Dockerfile -t osteofed-server .
FROM python:3.11-slim-bookworm AS build
# The processor's build of torch is enough here; name another index to get it where
# the default one carries the GPU's: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY shared shared
# Both sides: the bundle of code that hospitals approve is made from what is installed.
COPY client client
COPY server server
RUN python -m venv /opt/osteofed \
    && PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" /opt/osteofed/bin/pip install \
        --no-cache-dir --constraint constraints.txt '.[server,postgresql]'

FROM python:3.11-slim-bookworm
# Debian's nginx gets its security updates under the same name: no version is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent osteofed \
    && install --directory --owner=10001 --group=10001 --mode=0700 /home/coordinator /artifacts
COPY --from=build /opt/osteofed /opt/osteofed
ENV PATH=/opt/osteofed/bin:/usr/sbin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HOME=/tmp
USER 10001:10001
WORKDIR /home/coordinator
VOLUME /home/coordinator
EXPOSE 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["osteofed", "server", "healthy", "/home/coordinator/home"]
ENTRYPOINT ["osteofed"]
CMD ["server", "up", "/home/coordinator/home"]
