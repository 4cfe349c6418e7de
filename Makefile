# ModelServe. `make help` lists the targets; the README is where to begin.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
tool := $(GO) tool -modfile=tools/go.mod

.PHONY: help
help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Fetch the ONNX Runtime library and the models, once, checked.
	@$(GO) run ./cmd/deps

.PHONY: build
build: ## Build the CLI into bin/.
	@echo "  build bin/modelserve (some minutes the first time)"
	@$(GO) build -trimpath -o bin/modelserve ./cmd/modelserve

.PHONY: run
run: ## Run the whole platform here, on http://localhost:8080 (FUNCTIONS=examples/function adds another module's).
	@# The fetch waits for the network and the build for the processor: together.
	@$(MAKE) --no-print-directory -j2 deps build
	@exec bin/modelserve dev $(addprefix --functions ,$(FUNCTIONS))

.PHONY: models
models: deps build ## Publish the shipped models into the platform's S3, as version 1.
	@bin/modelserve models publish-shipped

.PHONY: images
images: ## Make the images that functions and the gateway are built on (ARCH=amd64,arm64 PUSH=registry GPU=1).
	@$(GO) run ./cmd/images $(if $(ARCH),-arch $(ARCH)) $(if $(PUSH),-push $(PUSH)) $(if $(GPU),-gpu) $(IMAGESFLAGS)

# Tests are of what is here, not of the platform that a shell's variables name.
plain := unset $${!MODELSERVE_@};

.PHONY: test
test: test-deps deps ## Prove everything but the cluster.
	@# And what took longest, of what was not known from before.
	@$(plain) MODELSERVE_POISON=buffers $(GO) test -race -timeout 30m ./... | awk '{ print; fflush() } \
		$$1 ~ /ok|FAIL/ && $$3 ~ /s$$/ { printf "  %7.1f s  %s\n", $$3, $$2 | "sort -rn | head -8 >&2" }'

.PHONY: conformance
conformance: test-deps deps ## Serve every model of the ONNX project's node tests (UPDATE=1 writes the exceptions again).
	@# Of each model only what went wrong, and the summary.
	@$(plain) $(GO) test -race -count=1 -timeout 30m -v ./test/conformance -all $(if $(UPDATE),-update) | grep -vE '^(=== (RUN|PAUSE|CONT|NAME)|    --- PASS)'

.PHONY: clients
clients: test-deps deps ## Use the platform through every client of others, Java's and MLServer's too.
	@test/clients/setup.sh all
	@$(plain) $(GO) test -count=1 -timeout 30m -v ./test/clients -all | grep -vE '^=== (RUN|PAUSE|CONT|NAME)'

.PHONY: cluster
cluster: ## Bring up Kubernetes and Knative on this Linux machine (as root).
	@mkdir -p .cluster/bin && $(GO) build -o .cluster/bin/cluster ./test/cluster
	@.cluster/bin/cluster up

.PHONY: cluster-down
cluster-down: ## Stop it, and leave nothing behind but what was built.
	@# What was built before stops it as well, should the source not compile today.
	@mkdir -p .cluster/bin && $(GO) build -o .cluster/bin/cluster ./test/cluster || test -x .cluster/bin/cluster
	@.cluster/bin/cluster down

.PHONY: deploy
deploy: ## Deploy everything to the current cluster (OVERLAY=staging ARCH=arm64; dev on that of `make cluster`).
	@test/deploy.sh $(OVERLAY)

# A cluster that somebody has brought up before stays up, with what is in it.
KEEP := $(or $(KEEP),$(wildcard .cluster/env))

.PHONY: e2e
e2e: cluster test-deps ## Prove it on a cluster, which this brings up, and down again unless it was up before or KEEP=1.
	@. .cluster/env && test/deploy.sh dev
	@. .cluster/env && $(GO) test -tags e2e -count=1 -timeout 40m -run ^TestCluster ./test/e2e
	@$(if $(KEEP),,$(GO) test -tags e2e -count=1 -run Down ./test/cluster)

.PHONY: test-deps
test-deps:
	@test/setup.sh

.PHONY: lint
lint: ## Check the code, the manifests and the module files.
	@$(tool) golangci-lint run --build-tags e2e ./...
	@$(GO) mod tidy -diff
	@cd examples/function && $(GO) tool -modfile=../../tools/go.mod golangci-lint run ./... && $(GO) mod tidy -diff
	@for overlay in config/overlays/*; do $(tool) kustomize build $$overlay >/dev/null; done

.PHONY: fmt
fmt: ## Format the code.
	@$(tool) golangci-lint fmt ./...

.PHONY: generate
generate: ## Make the generated code again (needs protoc).
	@$(GO) generate ./...

.PHONY: bench
bench: test-deps deps build ## Measure against bare ONNX Runtime, in ratios within one run.
	@$(GO) run ./test/bench $(BENCHFLAGS)

.PHONY: bench-peers
bench-peers: deps build ## Measure against other servers, each fetched into an environment of its own.
	@test/bench/peers/setup.sh
	@$(GO) run ./test/bench -run peers -rounds 3 $(BENCHFLAGS)

.PHONY: bench-cluster
bench-cluster: cluster ## Measure first answers from zero on the cluster, part by part, and pipelines there.
	@. .cluster/env && test/deploy.sh dev
	@. .cluster/env && $(GO) run ./test/bench -run cluster,cluster-pipelines -rounds 8 $(BENCHFLAGS)

.PHONY: soak
soak: deps build ## Push, swap, evict and infer at once, with no failure and no growth (SOAKTIME=3m).
	@$(GO) run ./test/bench -run soak -turn $(or $(SOAKTIME),3m)

.PHONY: gpu-check
gpu-check: ## Check CUDA on a machine that has a GPU (fetches 1.6 GB, once).
	@$(GO) run ./cmd/deps -gpu
	@$(GO) run ./test/gpu

.PHONY: golden
golden: deps ## Make the golden files again from the reference implementations in Python.
	@test/golden/make.sh

.PHONY: fuzz
fuzz: ## Fuzz every parser for a while (FUZZTIME=30s each).
	@test/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: clean
clean: ## Remove what was built; keep what was fetched and published.
	@rm -rf bin .modelserve/bin
