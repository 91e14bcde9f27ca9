# SPDX-License-Identifier: Apache-2.0
# A short front for meson and ninja. `make help` lists what there is.
BUILD ?= build

.PHONY: build test lint install help
build: $(BUILD)/build.ninja  ## compile everything into build/
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

test: build  ## run the tests
	meson test -C $(BUILD) --print-errorlogs

help:  ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  \1\t/p' Makefile
