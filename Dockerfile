# The product's images, one target each:
#
#   injector       scailabs/scaivault-injector       the admission webhook and the command line
#   init           scailabs/scaivault-init           the agent; what the injector adds to pods, for both containers
#   sidecar        scailabs/scaivault-sidecar        the same agent as root, for sidecars in manifests written by hand
#   csi-provider   scailabs/scaivault-csi-provider   the provider of the Secrets Store CSI driver
#
#   docker buildx build --target injector --platform linux/amd64,linux/arm64 \
#     --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#     --sbom=true --provenance=true --tag scailabs/scaivault-injector:0.1.0 .
#
# The compiler runs on the machine that builds and nothing is emulated. An image has the binary and what it reads, and
# no shell or package manager; it is made from nothing (`scratch`), so that there is no base image to follow and patch.

# The toolchain of rust-toolchain.toml, which a rule of `cargo xtask tidy` compares. Pinned by tag: who needs a digest
# gives it here, RUST_IMAGE=docker.io/library/rust@sha256:…
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm

# ---------------------------------------------------------------- toolchain
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS auditable
# Writes the list of all crates into the binary, where scanners of vulnerabilities and `--sbom` find it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked --version 0.7.7 cargo-auditable

FROM auditable AS toolchain
ARG TARGETARCH
# aws-lc-rs is C: `<machine>-linux-musl-gcc` is gcc for the target's processor, with musl's headers in the place of glibc's.
RUN case "$TARGETARCH" in \
      amd64) machine=x86_64 ;; \
      arm64) machine=aarch64 ;; \
      *) echo "no image for $TARGETARCH, only for amd64 and arm64" >&2; exit 1 ;; \
    esac \
 && gcc="$machine-linux-gnu-gcc" \
 && dpkg --add-architecture "$TARGETARCH" \
 && apt-get update \
 && apt-get install --yes --no-install-recommends "musl-dev:$TARGETARCH" \
      $(command -v "$gcc" >/dev/null || echo "gcc-$machine-linux-gnu" | tr _ -) \
 && rm -rf /var/lib/apt/lists/* \
 && printf '#!/bin/sh\nexec %s "$@" -specs /usr/lib/%s-linux-musl/musl-gcc.specs\n' "$gcc" "$machine" \
      >"/usr/local/bin/$machine-linux-musl-gcc" \
 && chmod +x "/usr/local/bin/$machine-linux-musl-gcc" \
 && rustup target add "$machine-unknown-linux-musl" \
 && echo "$machine-unknown-linux-musl" >/target
# rustc brings musl's start files and library itself; of the linker it needs only the right machine.
ENV CC_x86_64_unknown_linux_musl=x86_64-linux-musl-gcc \
    CC_aarch64_unknown_linux_musl=aarch64-linux-musl-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
WORKDIR /src
COPY . .

# -------------------------------------------------------------------- build
FROM toolchain AS build-injector
# Without the feature `demo`: neither an agent nor a development server belongs into the webhook's image.
# The cache of one build is the start of the next; a lock, because builds for two platforms share what cargo builds for
# this machine (macros, build scripts).
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo auditable build --locked --release --target "$(cat /target)" --package scaivault-injector \
      --no-default-features \
 && install -D --mode=0755 "target/$(cat /target)/release/scaivault-injector" /out/scaivault-injector

FROM toolchain AS build-agent
# 0111: executable, and not readable for any user, root included. The kernel makes a process non-dumpable at exec if its
# user cannot read the binary, so that other processes of that user can neither trace it nor open its memory or files in
# /proc. In a pod with a shared process namespace that protects the agent from its first instruction on, also where it runs
# as uid 0 with the capability KILL alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo auditable build --locked --release --target "$(cat /target)" --package scaivault-agent \
 && install -D --mode=0111 "target/$(cat /target)/release/scaivault-agent" /out/scaivault-agent

FROM toolchain AS build-csi-provider
# 0111 for the same reason: it runs as root on each node, with the tokens of the node's pods, and without the capability
# to read what its owner may not read.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo auditable build --locked --release --target "$(cat /target)" --package scaivault-csi-provider \
 && install -D --mode=0111 "target/$(cat /target)/release/scaivault-csi-provider" /out/scaivault-csi-provider

# ------------------------------------------------------------------- images
# What all images have in common.
FROM scratch AS image
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.source="https://github.com/scailabs/scaivault-injector" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM image AS agent
COPY --from=build-agent /out/ /

FROM agent AS init
LABEL org.opencontainers.image.title="scaivault-init" \
      org.opencontainers.image.description="Fetches ScaiVault secrets into files before a pod's application starts"
USER 65532:65532
ENTRYPOINT ["/scaivault-agent", "init"]

FROM agent AS sidecar
LABEL org.opencontainers.image.title="scaivault-sidecar" \
      org.opencontainers.image.description="Keeps ScaiVault secrets fresh in a pod's files"
# A manifest written by hand may ask for a signal to a process of any user. The injector does not use this image.
USER 0:0
ENTRYPOINT ["/scaivault-agent", "sidecar"]

FROM image AS csi-provider
LABEL org.opencontainers.image.title="scaivault-csi-provider" \
      org.opencontainers.image.description="Provider of the Secrets Store CSI driver that mounts ScaiVault secrets as volumes"
COPY --from=build-csi-provider /out/ /
# Only root may write into the driver's directory of sockets. The chart takes all capabilities away.
USER 0:0
EXPOSE 8080
ENTRYPOINT ["/scaivault-csi-provider"]

# The last target is what a build without --target makes.
FROM image AS injector
LABEL org.opencontainers.image.title="scaivault-injector" \
      org.opencontainers.image.description="Mutating admission webhook that puts ScaiVault secrets into annotated pods"
COPY --from=build-injector /out/ /
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/scaivault-injector"]
