# Oakum. "make help" lists the targets.
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell cat VERSION)
export CGO_ENABLED ?= 0
DATA_DIR ?= $(CURDIR)/.oakum
LISTEN ?= http://127.0.0.1:8080
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOLS := $(GO) tool -modfile=tools/go.mod

.PHONY: help run build test demo soak bench generate lint fmt clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## bin/oakum, static
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/oakum ./cmd/oakum

run: build ## build, then run a server with this machine as its first managed node
	bin/oakum up --data-dir '$(DATA_DIR)' --listen '$(LISTEN)'

test: ## everything CI runs; installs what it needs
	scripts/test

demo: build ## a small real fleet on this machine under one server (needs root)
	scripts/demo

soak: build ## what is real but slow: crash runs by the hundred; bounded to an hour
	scripts/soak

bench: build ## the benchmarks, each as a ratio against what a user would use instead (needs root)
	scripts/bench

generate: ## regenerate the API's shapes and the reference
	$(GO) generate ./wire
	$(GO) test ./internal/cli ./internal/server -run TestReference -update

lint: ## go vet on every platform, staticcheck, gofumpt
	scripts/lint

fmt: ## format everything
	$(TOOLS) gofumpt -w $$(git ls-files '*.go' | grep -v /zz_)

clean: ## remove what was built
	rm -rf bin .cache
