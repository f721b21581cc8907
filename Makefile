# `make demo` and `make test` are all that is needed; both build with the one release profile, so nothing is built twice.
# CARGO_TARGET_DIR is respected, as by cargo itself.

CARGO ?= cargo
OUT ?= demo-report
DIST ?= dist
export OUT DIST

.DEFAULT_GOAL := help
.PHONY: help deps demo test bench dist clean

help:
	@echo 'make demo    build, and compare two small encoders on planted data: $(OUT)/report.html (OUT=folder to change)'
	@echo 'make test    build, and run all tests'
	@echo 'make bench   run the benchmarks'
	@echo 'make dist    a folder that runs on machines without Rust, OpenBLAS or CUDA toolkit (DIST=folder to change)'
	@echo 'make deps    check that cargo, a C compiler and OpenBLAS are there; install OpenBLAS where possible'
	@echo 'make clean   remove what was built'

deps:
	@scripts/deps

demo:
	@scripts/deps $(CARGO) build --release --locked
	@scripts/deps $(CARGO) run --release --locked --quiet -- compare --demo --out "$$OUT" --overwrite
	@printf 'Open %s/report.html in a browser.\n' "$$OUT"

test:
	@scripts/deps $(CARGO) test --release --locked --no-fail-fast

bench:
	@scripts/deps $(CARGO) bench --locked

dist:
	@scripts/deps scripts/dist "$$DIST"

clean:
	@$(CARGO) clean
