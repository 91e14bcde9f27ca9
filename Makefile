# SPDX-License-Identifier: Apache-2.0
# A short front for meson and ninja. `make help` lists what there is.
#   make test SETUP=true   leaves out the look for missing packages
#   make install DESTDIR=/somewhere PREFIX=/usr
BUILD ?= build
SETUP ?= scripts/setup
SEGUE = $(BUILD)/segue

.PHONY: build demo test bench lint install help clean
.PHONY: test-asan test-tsan test-router-asan test-mutants model fuzz soak bench-router bench-deps bench-vllm wheel test-vllm test-rdma test-gpu

build: $(BUILD)/build.ninja  ## compile everything into build/
	@ninja -C $(BUILD)

# Configured again when packages came or went: what was missing may be there now.
$(BUILD)/build.ninja: $(wildcard /var/lib/dpkg/status)
	@if [ -f $@ ]; then meson setup --reconfigure $(BUILD); else meson setup $(BUILD); fi

demo:  ## install what is missing, fetch the model, hand a request over and check the answer
	@$(SETUP) build demo
	@$(MAKE) --no-print-directory build
	@scripts/fetch-model >/dev/null
	@$(SEGUE) demo

test:  ## install what is missing, build, run every test that needs no special hardware
	@$(SETUP) build test
	@$(MAKE) --no-print-directory build
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs

test-asan:  ## every test under the address and undefined-behaviour sanitizers
	@$(SETUP) build test
	@scripts/test-sanitized asan

test-tsan:  ## unit and conformance tests under the thread sanitizer
	@$(SETUP) build test
	@scripts/test-sanitized tsan

test-router-asan:  ## the router's tests on an nginx built with the address sanitizer, from Debian's source
	@$(SETUP) build test
	@scripts/test-router-asan

fuzz:  ## fuzz every decoder for FUZZ_SECONDS (30) each
	@$(SETUP) build test fuzz
	@scripts/fuzz

model:  ## search the model of the hand-off with big bounds (hours, up to 20 GB of memory)
	@$(SETUP) build test
	@tests/model/check --tier ci
	@SEGUE_MODEL_MB=20000 tests/model/check --tier big

test-mutants:  ## leave one wait or check of the hand-off out at a time: a test must turn red
	@$(SETUP) build test
	@scripts/test-mutants

soak:  ## SEGUE_TEST_CASES (1000000) random hand-offs with faults; SEGUE_TEST_SEED repeats a run
	@$(SETUP) build test
	@$(MAKE) --no-print-directory build
	@SEGUE_TEST_CASES=$${SEGUE_TEST_CASES:-1000000} $(BUILD)/tests/fault/fault-soak

lint:  ## formatting, layers, script syntax
	@$(SETUP) build test lint
	@$(MAKE) --no-print-directory build
	@scripts/lint $(BUILD)

CPU = $(shell sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr 'A-Z' 'a-z' | tr -cs 'a-z0-9\n' '-')

BENCH_VENV = $${SEGUE_CACHE:-$$HOME/.cache/segue}/bench-venv

bench:  ## measure hand-offs, relayouts and failures, into bench/results/ (half an hour on a quiet machine)
	@$(SETUP) build bench
	@$(MAKE) --no-print-directory build
	@mkdir -p bench/results
	@python="$(BENCH_VENV)/bin/python"; [ ! -x "$$python" ] || export SEGUE_BENCH_PYTHON="$${SEGUE_BENCH_PYTHON:-$$python}"; \
	status=0; for name in handoff relayout fault; do \
		$(SEGUE) bench $$name --json >bench/results/$$name-$(CPU).json || status=$$?; \
		echo "wrote bench/results/$$name-$(CPU).json"; \
	done; exit $$status

bench-deps:  ## what benchmarks compare with: a venv with PyTorch and NumPy (some GB), the toy proxy
	@$(SETUP) bench
	@[ -x "$(BENCH_VENV)/bin/pip" ] || python3 -m venv "$(BENCH_VENV)"
	@"$(BENCH_VENV)/bin/pip" install --quiet numpy torch
	@scripts/fetch-toy-proxy >/dev/null
	@echo "export SEGUE_BENCH_PYTHON=$(BENCH_VENV)/bin/python"

bench-router:  ## measure the router beside plain nginx, vllm-router and the toy proxy, into bench/results/
	@$(SETUP) build bench
	@$(MAKE) --no-print-directory build
	@mkdir -p bench/results
	@SEGUE=$(SEGUE) bench/router/run --json >$(BUILD)/router.json; status=$$?; \
	if [ $$status -gt 1 ] || ! grep -q rows $(BUILD)/router.json; then cat $(BUILD)/router.json; exit $$status; fi; \
	mv $(BUILD)/router.json bench/results/router-$(CPU).json; \
	echo 'wrote bench/results/router-$(CPU).json'; exit $$status

bench-vllm wheel test-vllm:  ## vLLM: its peers, benchmark, wheel and tests
	@echo 'skipped: the vLLM connector is not part of this release yet'

test-rdma:  ## tests over RDMA fabrics
	@echo 'skipped: the RDMA transports are not part of this release yet'

test-gpu:  ## tests on GPUs
	@echo 'skipped: the GPU devices are not part of this release yet'

install: build  ## install to PREFIX (/usr/local) under DESTDIR
	@$(if $(PREFIX),meson configure $(BUILD) -Dprefix=$(PREFIX))
	@meson install -C $(BUILD)

clean:  ## remove the build folders
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-mutants

help:  ## this list
	@sed -n 's/^\([a-z][a-z -]*\):.*  ## /  \1\t/p' Makefile | expand -t 42
