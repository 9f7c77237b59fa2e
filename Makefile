# Two commands on a fresh machine with Python 3.11+ and make: `make demo` and `make test`. Both create .venv when needed.
# All paths are relative, so that a folder with a space in its name works.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Sample data beside the checkout, where there is some; tests that need it are skipped where there is none.
SAMPLE_DATA := $(shell cd ../shared/data 2>/dev/null && pwd)
ifneq ($(SAMPLE_DATA),)
export DOLMA_PY_DATA ?= $(SAMPLE_DATA)
endif

# A cache folder that cannot be written, as in a read-only home: everything that would cache there uses .venv/cache.
ifneq ($(shell d="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$d" 2>/dev/null && test -w "$$d" && echo yes),yes)
CACHE := $(CURDIR)/.venv/cache
export XDG_CACHE_HOME := $(CACHE)
export HF_HOME := $(CACHE)/huggingface
export MPLCONFIGDIR := $(CACHE)/matplotlib
export NUMBA_CACHE_DIR := $(CACHE)/numba
export TORCHINDUCTOR_CACHE_DIR := $(CACHE)/inductor
export PIP_NO_CACHE_DIR := 1
endif

# Spark and Python must agree on the interpreter, whatever the shell has set.
unexport PYTHONPATH PYTHONHOME

.PHONY: help demo test test-slow check fmt bundle peers bench clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

# Any Python from 3.11 to 3.13: $(PYTHON) first, then those with a version in their name.
$(INSTALLED): setup.cfg pyproject.toml
	@for python in "$(PYTHON)" python3.11 python3.12 python3.13; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	test -n "$$found" || { echo 'make: no Python 3.11 to 3.13 on PATH; name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }; \
	test -x $(BIN)/python || "$$found" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $(INSTALLED)

demo: $(INSTALLED) ## install, then raw text to a trained model and a report, in demo/
	$(BIN)/dolma-py build mix --recipe quickstart --corpus demo/corpus
	$(BIN)/dolma-py train --config quickstart/pretrain --shards demo/corpus/tokens/quickstart --output demo/run
	$(BIN)/dolma-py eval --run demo/run --shards demo/corpus/tokens/quickstart --items demo/corpus/evaluation/word_problems.jsonl
	$(BIN)/dolma-py generate --run demo/run --prompt "This function returns" --output demo/run/sample.txt
	$(BIN)/dolma-py report --corpus demo/corpus --run demo/run --output demo/report.html

# Two files of tests run at a time, a file's tests one after the other: much of a test is the start of a JVM, on one core.
# In the order of their names, which begins with the long ones of tests/jobs; the slow ones by their number of tests.
TWO_AT_ONCE := -n 2 --dist loadfile

# pytest is last and names what was skipped and why just before its count line
test: check ## install, check, and every test that is neither slow nor needs a GPU
	$(BIN)/python -m pytest $(TWO_AT_ONCE) --no-loadscope-reorder

KERNELS := dolma_py dedup taggers mixers  # the packages that may have compiled code
# Bounds are checked by code compiled for that, hence the cache of its own: numba would reuse what was compiled without.
test-slow: $(INSTALLED) ## the slow tests (clusters, kills), and all kernels again with array bounds checked
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 3600 $(TWO_AT_ONCE) --no-loadscope-reorder
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$(CURDIR)/.venv/cache/numba-bounds" $(BIN)/python -m pytest $(KERNELS:%=tests/unit/%) --timeout 1200 $(TWO_AT_ONCE)

check: $(INSTALLED) ## lint, format and types, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(INSTALLED) ## format, and fix what the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bundle: $(INSTALLED) ## dist/: our code and its packages for the workers of a Spark cluster
	$(BIN)/python -m pipelines.bundle --output dist

# Other projects' tools, for the parity tests and the benchmarks: never in .venv, where their pins would win, and one folder
# each, for they cannot be installed beside each other.
.venv-peers/%/.installed: tests/peers/%.txt | $(INSTALLED)
	mkdir -p .venv-peers
	test -x .venv-peers/$*/bin/python || $(BIN)/python -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r tests/peers/$*.txt
	@touch .venv-peers/$*/.installed

PEERS := dolma datatrove text_dedup
peers: $(PEERS:%=.venv-peers/%/.installed) ## .venv-peers: the tools of others, for parity tests and benchmarks

bench: $(INSTALLED) ## print the numbers of the README, each beside a peer's where .venv-peers exists
	@for file in $$(grep -l __main__ benchmarks/*.py | grep -v process_tree); do echo "== $$file"; PYTHONPATH=. $(BIN)/python -P "$$file" || exit 1; done

clean: ## remove what the other commands made, but for .venv and .venv-peers
	rm -rf build dist demo spark-warehouse .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
