# syntax=docker/dockerfile:1
# The operator, and the plugin that `helm test` runs: no shell, no package manager, not root.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag IMAGE .
#
# It is compiled on the builder's own platform, for the target's.
ARG RUST_VERSION=1.94.1
# The image's SBOM lists the crates, too: Cargo.lock is in the build's context, not in the image.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN image/build ${TARGETARCH} /out

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="scoped-secrets" \
      org.opencontainers.image.description="A Kubernetes operator that enforces per-namespace secret segmentation" \
      org.opencontainers.image.source="https://github.com/scoped-secrets/scoped-secrets" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/scoped-secrets /out/kubectl-scoped_secrets /usr/local/bin/
USER 65532:65532
EXPOSE 9443 8080
ENTRYPOINT ["/usr/local/bin/scoped-secrets"]
