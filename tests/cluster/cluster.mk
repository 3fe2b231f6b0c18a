# A Kubernetes control plane on this machine, to try things on. The top Makefile includes this file.

cluster_tools := tests/cluster/tools
# Under target/, so that each checkout has its own.
CLUSTER_DIR ?= $(CURDIR)/target/cluster

.PHONY: cluster cluster-down

## cluster: start a control plane with one (played) node; the last line is its KUBECONFIG path
# One shell command, and `set -e`, so that no step runs after one that failed.
cluster:
	@set -e; \
	testcluster=$$($(cluster_tools) ensure testcluster)/testcluster; \
	bin=$$($(cluster_tools) ensure control-plane); \
	kwok=$$($(cluster_tools) ensure kwok); \
	"$$testcluster" up --dir "$(CLUSTER_DIR)" --bin "$$bin" --kwok "$$kwok" --audit-log

## cluster-down: stop it and remove its state
cluster-down:
	@set -e; \
	testcluster=$$($(cluster_tools) ensure testcluster)/testcluster; \
	"$$testcluster" down --dir "$(CLUSTER_DIR)"
