# Everything runs in a virtual environment that the first target makes. PYTHON chooses another base.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := adapt,eval,export,fasttext,gguf,lora,plot,sentencepiece,text,vectors
LOWEST_TORCH ?= $(shell sed -n 's/^torch==//p' constraints-lowest.txt)
export HF_HUB_OFFLINE := 1

BY_HASH := --quiet --require-hashes --no-deps --no-build-isolation --requirement
UV ?= uv
LOCK := $(UV) pip compile --universal --generate-hashes --python-version 3.10 --no-header --no-annotate

.PHONY: setup test check browser test-lowest build smoke sbom lock demo bench docs clean

setup: .venv/ready

# What builds packages, pip among it; then all that is locked; then torch by its version, since every
# index has builds of its own; and last saltlm, for which nothing may be missing by then.
.venv/ready: pyproject.toml constraints.txt requirements.lock .ci/tools.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(BY_HASH) .ci/tools.lock
	$(BIN)/python -m pip install $(BY_HASH) requirements.lock
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --no-index --no-build-isolation --editable . --group dev
	touch $@

# After a change of constraints.txt, with uv at hand and the network.
lock:
	sed '/^torch==/d; /^#/d' constraints.txt | $(LOCK) --no-deps --output-file requirements.lock -
	printf '%s\n' pip==26.3 setuptools wheel hatchling editables | \
		$(LOCK) --constraint requirements.lock --output-file .ci/tools.lock -

# What is installed is what is locked; dist/sbom.json says what that is, in CycloneDX.
sbom: .venv/ready
	mkdir -p dist
	$(BIN)/python .ci/sbom.py dist/sbom.json

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Asserts that explain themselves take a third of the time to collect the tests: they are made only
# where one failed.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
test: check
	$(PYTEST) --assert=plain || { $(PYTEST) --last-failed --last-failed-no-failures=none; exit 1; }

# The report in a real browser: apt-get install chromium fonts-noto-core.
browser: .venv/ready
	$(BIN)/python -m pytest -m browser -rs tests/inspection/report

# The lowest versions that pyproject.toml promises, with the newest of what those ask for.
.venv-lowest/ready: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install $(BY_HASH) .ci/tools.lock
	sed '/^torch==/d' constraints-lowest.txt > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/constraints.txt \
		'torch==$(LOWEST_TORCH)' --editable '.[$(EXTRAS)]'
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt \
		beartype fasttext-modern hypothesis pytest pytest-socket pytest-xdist
	touch $@

test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest -W ignore::DeprecationWarning --numprocesses auto --dist worksteal

build: .venv/ready
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python .ci/check_dist.py

# The wheel without extras, in an environment of its own, outside of the repository.
smoke: build
	rm -rf .venv-smoke
	$(PYTHON) -m venv .venv-smoke
	.venv-smoke/bin/python -m pip install $(BY_HASH) .ci/tools.lock
	.venv-smoke/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd / && $(CURDIR)/.venv-smoke/bin/python $(CURDIR)/.ci/smoke.py
	rm -rf .venv-smoke

demo: .venv/ready
	$(BIN)/saltlm demo

bench: .venv/ready
	$(BIN)/python benchmarks/map_speed.py --out benchmarks/results/map_speed.json
	$(BIN)/python benchmarks/io_memory.py --out benchmarks/results/io_memory.json
	$(BIN)/python benchmarks/adapt_speed.py --out benchmarks/results/adapt_speed.json

docs: .venv/ready
	SALTLM_WRITE_DOCS=1 $(BIN)/python -m pytest tests/test_docs.py -k flags_are_the_schema
	SALTLM_WRITE_DOCS=1 $(BIN)/python -m pytest tests/test_docs.py

clean:
	rm -rf .venv .venv-lowest .venv-smoke dist
