# `make help` lists the targets. Needed: Rust and a C compiler, Go, Python 3.10 or newer, kubectl, bash, make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

include tests/cluster/cluster.mk

.PHONY: help demo demo-down test test-long bench lint audit generate

## demo: the main job, told step by step, then cleaned up; STORE=file: no Python; KEEP=1: left running
# With KUBECONFIG set it uses that cluster, and asks first (YES=1: does not).
demo:
	@examples/demo.sh

## demo-down: stop what KEEP=1 left running
demo-down:
	@examples/demo.sh down

# What the tests run; their first line says how long each takes to build.
test_tools := control-plane testcluster kwok emulator helm3 helm4 judge promtool

# Each story has a cluster of its own and waits for it much of the time.
JOBS ?= 2

## test: everything, on a real control plane; 25 min on two cores, and 20 more the first time (JOBS=1: a story at a time)
# The test runner has the last word: nothing is printed after it.
test:
	@set -e; for tool in $(test_tools); do $(cluster_tools) ensure $$tool >/dev/null; done
	@echo "test: building; the first time about 8 min on two cores"; cargo test --locked --no-run
	@echo "test: $(JOBS) stories at a time"; tests/stories $(JOBS)
	@cargo test --locked --doc

## test-long: the same at full size (10,000 ScopedSecrets where `make test` takes a sample); 5 min more
test-long: export SCALE := 10000
test-long: test

## bench: what each guard adds to a write, and a review costs in the server at 10,000 managed Secrets; 3 min, and 10 more the first time
# The guards' cost is the API server's: the operator needs no optimised build for it.
bench:
	@for tool in control-plane testcluster; do $(cluster_tools) ensure $$tool >/dev/null || exit; done
	@echo "bench: what each guard adds to a write; 2 min"; cargo bench --quiet --locked --profile dev --bench guards
	@echo "bench: reviews by rule; building optimised"; cargo bench --quiet --locked --bench admission

shell_scripts := $(cluster_tools) tests/stories examples/demo.sh image/build .ci/run
# The same settings as tests/cluster/tools.
go_settings := GOWORK=off GOFLAGS= CGO_ENABLED=0

## lint: formats, clippy, licences and banned crates, scripts, manifests, the chart; 1 min, and 6 more the first time
lint:
	@echo "lint: rustfmt"; cargo fmt --check
	@echo "lint: clippy"; cargo clippy --quiet --locked --all-targets -- -D warnings
	@deny=$$($(cluster_tools) ensure cargo-deny) && echo "lint: cargo-deny" && \
	  "$$deny/cargo-deny" --log-level error --locked check bans licenses sources
	@echo "lint: shell scripts"; for script in $(shell_scripts); do bash -n "$$script" || exit; done
	@echo "lint: Go"; badly=$$(gofmt -l tests/cluster tests/gitops) && \
	  { [ -z "$$badly" ] || { echo "not as gofmt writes it: $$badly" >&2; exit 1; }; } && \
	  $(go_settings) go vet -C tests/cluster/testcluster ./... && $(go_settings) go vet -C tests/gitops/judge ./...
	@echo "lint: Python"; PYTHONPYCACHEPREFIX=target/pycache python3 -m py_compile tests/cluster/emulator.py
	@echo "lint: kustomizations"; for folder in deploy deploy/overlays/*/; do \
	  kubectl kustomize "$$folder" >/dev/null || exit; done
	@helm=$$($(cluster_tools) ensure helm3) && echo "lint: chart" && \
	  "$$helm/helm" lint --quiet --strict --kube-version 1.33.0 charts/scoped-secrets

## audit: known vulnerabilities in the dependencies, by today's list (needs the network)
audit:
	@deny=$$($(cluster_tools) ensure cargo-deny) && "$$deny/cargo-deny" --locked check advisories

## generate: write crds/, schemas/, deploy/base/guards/, docs/reasons/, docs/api.md, docs/metrics.md and of charts/ and deploy/ what follows from them
generate:
	@echo "generate: crds/, schemas/, deploy/base/guards/, deploy/argocd/, docs/reasons/, docs/api.md, docs/metrics.md, charts/scoped-secrets/ and deploy/install.yaml"
	@cargo run --quiet --locked --example generate

help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' $(MAKEFILE_LIST) | sort | awk -F '\t' '{ printf "make %-13s %s\n", $$1, $$2 }'
