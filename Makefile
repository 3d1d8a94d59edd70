# Handfast. `make help` lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/handfast/handfast/internal/version.version=$(VERSION)
PACKAGES := ./... github.com/handfast/handfast/certs/...
# How long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 30s

# Pinned here and not in go.mod, so that a linter's dependencies never become ours.
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the three binaries into bin/
	@./internal/setup/packages.sh build
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/handfast-ca ./cmd/handfast-ca
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/handfast ./cmd/handfast-agent

.PHONY: demo
demo: ## Show the whole life of a certificate, on loopback
	@./internal/setup/packages.sh demo
	@$(MAKE) --no-print-directory build
	@$(GO) run ./internal/demo -bin bin

# The timeouts only end what hangs: a slow machine takes several times as long as a quick one.
.PHONY: test
test: ## Run every test: the fast ones, the race detector, the real binaries, the demo
	@./internal/setup/packages.sh test
	$(MAKE) --no-print-directory check-format
	$(GO) vet -tags e2e $(PACKAGES)
	$(GO) test -timeout 15m $(PACKAGES)
	@# Else each of their programs sleeps for a second before it exits.
	GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 20m $(PACKAGES)
	cd bench && $(GO) vet ./... && $(GO) test ./...
	$(MAKE) --no-print-directory build
	$(GO) test -tags e2e -count=1 -timeout 20m ./internal/e2e/...
	$(MAKE) --no-print-directory demo

.PHONY: check-format
check-format: ## Fail if gofmt would change a file
	@files=$$(gofmt -l $$(git ls-files '*.go') </dev/null); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }

.PHONY: lint
lint: check-format ## Run golangci-lint and, where its data can be had, govulncheck
	$(GO) run $(GOLANGCI) run ./...
	cd certs && $(GO) run $(GOLANGCI) run --config ../.golangci.yml ./...
	@# A machine without a way to the vulnerability database cannot run this check: say so, and fail on findings only.
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) && echo "govulncheck: nothing found" || { \
		case "$$out" in \
		*"fetching vulnerabilities"*) echo "govulncheck did not run: its database cannot be reached from here" ;; \
		*) echo "$$out"; exit 1 ;; \
		esac; }

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME
	@for package in $$($(GO) list $(PACKAGES)); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# BENCH names one or several of issue, renew, ocsp, crl, proxy, agent, feed, limit, fleet, endurance and profile; without it all but the
# last three run: fleet takes half an hour, endurance (a million certificates one after the other) a quarter of one.
.PHONY: bench
bench: ## Measure beside other programs, in turns; BENCH=issue for one part
	cd bench && $(GO) run . -keep $(BENCH)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
