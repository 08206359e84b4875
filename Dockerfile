# Two images from one file:
#
#   docker build --target operator -t kubebpf-operator .      the compiler (LLVM), no libbpf
#   docker build --target agent    -t kubebpf-agent .         libbpf, neither LLVM nor a compiler
#
# BASE is any Debian 12 image with Python 3.11 as python3, or without Python (it is installed then). For another package
# index pass --build-arg PIP_INDEX_URL=... (and PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST).
ARG BASE=debian:bookworm-slim

# -- Python and nothing else, shared by all stages
FROM ${BASE} AS python
ENV DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN command -v python3 >/dev/null || \
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }

# -- wheels are resolved and installed here; pip and its caches stay behind
FROM python AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
# Not every builder hands arguments on to the stages that are built upon this one; pip takes an empty variable for none.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PIP_INDEX_URL=${PIP_INDEX_URL} PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL} PIP_TRUSTED_HOST=${PIP_TRUSTED_HOST}
RUN python3 -c 'import ensurepip, venv' 2>/dev/null || \
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY compiler compiler
COPY agent agent
COPY operator operator

# Without pip in the image there is one thing less to scan and to misuse.
FROM build AS build-operator
RUN python3 -m venv /opt/kubebpf && \
    /opt/kubebpf/bin/pip install -q -c constraints.txt '.[operator]' && \
    /opt/kubebpf/bin/pip uninstall -qy pip setuptools

# The agent gets an object file, never a program's text: of the compiler it has the description of that file alone.
FROM build AS build-agent
RUN python3 -m venv /opt/kubebpf && \
    /opt/kubebpf/bin/pip install -q -c constraints.txt '.[agent]' && \
    /opt/kubebpf/bin/pip uninstall -qy pip setuptools && \
    find /opt/kubebpf/lib/python3*/site-packages/kubebpf/compiler -mindepth 1 -maxdepth 1 ! -name artifact -exec rm -rf {} + && \
    rm -rf /opt/kubebpf/lib/python3*/site-packages/kubebpf/operator

# -- the images
FROM python AS operator
COPY --from=build-operator /opt/kubebpf /opt/kubebpf
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/kubebpf/bin/kubebpf"]
CMD ["operator"]

FROM python AS agent
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libbpf1 libstdc++6 && rm -rf /var/lib/apt/lists/*
COPY --from=build-agent /opt/kubebpf /opt/kubebpf
# Root, with five capabilities and no more (see the chart): the kernel's files belong to root.
USER 0:0
WORKDIR /tmp
ENTRYPOINT ["/opt/kubebpf/bin/kubebpf"]
CMD ["agent"]
