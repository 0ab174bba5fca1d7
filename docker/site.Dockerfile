# A hospital's site: `osteofed site join`, which only calls out and listens nowhere.
# Build from the project's root: docker build -f docker/site.Dockerfile -t osteofed-site .
FROM python:3.11-slim-bookworm AS build
# Where the default index carries no build of torch for your GPU, or you want the smaller
# one without: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY shared shared
COPY client client
RUN python -m venv /opt/osteofed \
    && PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" /opt/osteofed/bin/pip install \
        --no-cache-dir --constraint constraints.txt '.[client]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent osteofed \
    && install --directory --owner=10001 --group=10001 --mode=0700 /site
COPY --from=build /opt/osteofed /opt/osteofed
ENV PATH=/opt/osteofed/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HOME=/tmp
USER 10001:10001
WORKDIR /site
VOLUME /site
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["osteofed", "site", "healthy", "/site"]
ENTRYPOINT ["osteofed"]
CMD ["site", "join", "/site"]
