# Needs Rust and Python 3.8 or newer; everything else is fetched below target/, and said.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

UV_VERSION := 0.13.9
PIP_VERSION := 25.0.1
TOOLS := target/tools
UV := $(TOOLS)/uv-$(UV_VERSION)/bin/uv
PJDFSTEST_VERSION := 0.2.2
PJDFSTEST := $(TOOLS)/pjdfstest-$(PJDFSTEST_VERSION)/bin/pjdfstest
FSX_VERSION := 0.3.2
FSX := $(TOOLS)/fsx-$(FSX_VERSION)/bin/fsx

# With --target, build scripts and procedural macros stay dynamic: the compiler has to load them.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# Where cargo builds, whatever a person's own configuration says; what is fetched stays in target/.
export CARGO_TARGET_DIR ?= target

STATIC = RUSTFLAGS='-C target-feature=+crt-static'
STATIC_OPTIONS = --locked --target $(HOST) --target-dir target/static

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the release binary, target/release/sitefs
	cargo build --release --locked

.PHONY: static
static: ## build one static release binary, target/static/sitefs, for images without its libraries
	$(STATIC) cargo build --release $(STATIC_OPTIONS)
	@cp target/static/$(HOST)/release/sitefs target/static/sitefs
	@if ldd target/static/sitefs >/dev/null 2>&1 && ! ldd target/static/sitefs 2>&1 | grep -q 'statically linked'; then \
	    echo 'static: it still needs libraries:' >&2; ldd target/static/sitefs >&2; exit 1; fi
	@echo 'static: target/static/sitefs needs no library'

.PHONY: check
check: ## formatting, lints, documentation, and dependencies where cargo-deny is installed
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo 'check: cargo-deny is not installed, so deny.toml was not checked (cargo install cargo-deny)'; fi

# Tests wait more than they compute, so more of them run than there are cores.
.PHONY: test
test: tools fuse disks ## all tests, with the tools that they need
	@rm -f target/skipped.txt
	@if cargo nextest --version >/dev/null 2>&1; then run="cargo nextest run --test-threads $$((2 * $$(nproc)))"; cargo test --locked --doc; \
	else run='cargo test'; fi; \
	$$run --locked --no-fail-fast || failed=1; \
	if [ -s target/skipped.txt ]; then echo "*** SKIPPED $$(wc -l <target/skipped.txt) tests, because:"; sort target/skipped.txt | uniq -c; fi; \
	exit $${failed:-0}

# What does not mount; the tests of mounts are left out by name, or say so. Only the linked program differs from that of `make test`.
.PHONY: test-without-fuse
test-without-fuse: tools disks ## build without FUSE, and test what that can do
	@rm -f target/skipped.txt
	@cargo test --locked --no-default-features --no-fail-fast --lib --test without_fuse \
	    && cargo test --locked --no-default-features --no-fail-fast --test link --test bad_input -- \
	        changes:: switching:: trees:: data_ links_in_ entry_points_ a_venv_ no_permission_ || failed=1; \
	if [ -s target/skipped.txt ]; then echo "*** SKIPPED in part, because:"; sort target/skipped.txt | uniq -c; fi; \
	exit $${failed:-0}

.PHONY: check-platforms
check-platforms: ## type-check for macOS and Windows; nothing is built or run
	@tests/check-platforms $(TOOLS)/debian-rust

.PHONY: test-static
test-static: tools fuse ## the tests of images, and of what containers may, with a static binary; a debug build, which takes half the time
	$(STATIC) cargo test $(STATIC_OPTIONS) --no-fail-fast --test images --test static
	$(STATIC) cargo test $(STATIC_OPTIONS) --no-fail-fast --test containers -- privileges_decide rootless

.PHONY: test-long
test-long: tools fuse disks ## the tests that take minutes: link modes and stores of the larger corpora, all imports of them
	cargo test --locked --no-fail-fast --test link --test store --test writable -- --ignored --test-threads=1

SEQUENCES := 5000

.PHONY: soak
soak: ## random sequences of changes to a view, cut at random steps (SEQUENCES of them), and on mounts
	SITEFS_SEQUENCES=$(SEQUENCES) cargo test --locked --lib -- view::model
	SITEFS_SEQUENCES=$$(($(SEQUENCES) / 20)) cargo test --locked --test writable -- random

# With the program that the tests have built: what is asked is whether it is right, not how fast.
.PHONY: posix
posix: tools fuse disks $(PJDFSTEST) $(FSX) ## pjdfstest and fsx on mounted views, beside overlayfs and ext4 (as root)
	cargo build --locked
	@python3 tests/posix/posix.py --uv $(UV) --sitefs $(CARGO_TARGET_DIR)/debug/sitefs --pjdfstest $(PJDFSTEST) --fsx $(FSX)

STRESS_SECONDS := 60

.PHONY: stress
stress: tools fuse disks ## stress-ng's file system stressors on mounted views, for about STRESS_SECONDS (as root)
	@command -v stress-ng >/dev/null || { echo 'stress: stress-ng is missing (Debian: apt-get install stress-ng)' >&2; exit 1; }
	cargo build --locked
	@python3 tests/posix/stress.py --uv $(UV) --sitefs $(CARGO_TARGET_DIR)/debug/sitefs --seconds $(STRESS_SECONDS)

.PHONY: demo
demo: build tools fuse ## mount a real environment out of a real cache, and use it
	@examples/demo/demo.sh $(UV) $(CARGO_TARGET_DIR)/release/sitefs target/demo

# What is measured, and on what; the slow disk is a program of the bench.
RUN_BENCH = python3 benches/bench.py --uv $(UV) --sitefs $(CARGO_TARGET_DIR)/release/sitefs --slow-disk $(CARGO_TARGET_DIR)/release/examples/slow_disk \
    --requirements tests/corpora/data.txt --more-requirements tests/corpora/cloud.txt

.PHONY: slow-disk
slow-disk:
	cargo build --release --locked --example slow_disk

.PHONY: bench
bench: build slow-disk tools fuse ## measure beside uv and overlayfs, twenty minutes; BENCH=--quick for five, BENCH=--help for more
	@$(RUN_BENCH) $(BENCH)

SOAK_MINUTES := 60

.PHONY: soak-bench
soak-bench: build slow-disk tools fuse ## work on one mount for SOAK_MINUTES, and watch its server's memory
	@$(RUN_BENCH) --only soak --soak $(SOAK_MINUTES)

.PHONY: clean
clean: ## remove everything that was built or fetched
	cargo clean

.PHONY: tools
tools: $(UV)
	@ln -sfn uv-$(UV_VERSION) $(TOOLS)/uv

# A private venv, so that nothing of the machine's Python changes. pip is newer than some systems', for its --python option.
$(UV):
	@echo 'tools: installing uv $(UV_VERSION) and pip $(PIP_VERSION) from the Python registry into $(@D)'
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' || { echo 'tools: python3 must be 3.8 or newer' >&2; exit 1; }
	@rm -rf $(TOOLS)/uv-$(UV_VERSION) && mkdir -p $(TOOLS)
	@python3 -m venv $(TOOLS)/uv-$(UV_VERSION) || { rm -rf $(TOOLS)/uv-$(UV_VERSION); \
	    echo 'tools: python3 cannot make a venv (Debian and Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@$(@D)/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION) uv==$(UV_VERSION) \
	    || { rm -rf $(TOOLS)/uv-$(UV_VERSION); exit 1; }

# cargo builds them, each from its own lock.
$(PJDFSTEST):
	@echo 'posix: building pjdfstest $(PJDFSTEST_VERSION) into $(@D)'
	@CARGO_TARGET_DIR=$(TOOLS)/build cargo install --quiet --debug --locked --root $(patsubst %/bin/,%,$(dir $@)) pjdfstest@$(PJDFSTEST_VERSION)

$(FSX):
	@echo 'posix: building fsx $(FSX_VERSION) into $(@D)'
	@CARGO_TARGET_DIR=$(TOOLS)/build cargo install --quiet --debug --locked --root $(patsubst %/bin/,%,$(dir $@)) fsx@$(FSX_VERSION)

# Root mounts without help; everybody else mounts through fusermount3 and must be able to open /dev/fuse.
.PHONY: fuse
fuse:
	@if [ ! -e /dev/fuse ]; then \
	    echo 'fuse: there is no /dev/fuse: mounts will not work (modprobe fuse; in a container, --device /dev/fuse)'; \
	elif [ "$$(id -u)" = 0 ] && [ "$$(stat -c %a /dev/fuse)" != 666 ]; then \
	    if chmod 0666 /dev/fuse; then echo 'fuse: chmod 0666 /dev/fuse, for the tests that mount as an ordinary user'; \
	    else echo 'fuse: only root can open /dev/fuse: tests that mount as an ordinary user will be skipped'; fi; \
	elif [ ! -w /dev/fuse ]; then \
	    echo 'fuse: this user cannot open /dev/fuse: mounts will not work (chmod 0666 /dev/fuse as root)'; \
	fi
	@if command -v fusermount3 >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'fuse: installing fuse3 (apt-get), for mounts by an ordinary user'; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends fuse3; } </dev/null >/dev/null \
	    || echo 'fuse: fuse3 could not be installed: tests that mount as an ordinary user will be skipped'; \
	elif [ "$$(id -u)" = 0 ]; then \
	    echo 'fuse: fusermount3 is missing: tests that mount as an ordinary user will be skipped (install the package fuse3)'; \
	else \
	    echo 'fuse: fusermount3 is missing: mounts will not work for this user (install the package fuse3 as root)'; \
	fi

# Link modes are tested on disks of their own, which only root can mount; clones need btrfs or XFS.
.PHONY: disks
disks:
	@if [ "$$(id -u)" != 0 ]; then \
	    echo 'disks: only root can mount disks: tests of clones, of full disks and across devices will be skipped'; \
	elif (command -v mkfs.btrfs && command -v mkfs.xfs && command -v mkfs.ext4 && command -v filefrag) >/dev/null; then :; \
	elif command -v apt-get >/dev/null; then \
	    echo 'disks: installing btrfs-progs, xfsprogs and e2fsprogs (apt-get), for disks of the tests'; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends btrfs-progs xfsprogs e2fsprogs; } </dev/null >/dev/null \
	    || echo 'disks: they could not be installed: tests on disks of their own will be skipped'; \
	else \
	    echo 'disks: mkfs.btrfs, mkfs.xfs, mkfs.ext4 or filefrag is missing: tests on disks of their own will be skipped (install btrfs-progs, xfsprogs and e2fsprogs)'; \
	fi
