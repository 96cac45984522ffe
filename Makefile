# Everything runs in a virtual environment that the first target makes. PYTHON chooses another base.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := adapt,eval,fasttext,gguf,lora,plot,sentencepiece,text
LOWEST_TORCH ?= $(shell sed -n 's/^torch==//p' constraints-lowest.txt)
export HF_HUB_OFFLINE := 1

.PHONY: setup test check test-lowest build smoke demo bench docs clean

setup: .venv/ready

# torch comes first and by its version, so that nothing else chooses another build of it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# The lowest versions that pyproject.toml promises, with the newest of what those ask for.
.venv-lowest/ready: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	sed '/^torch==/d' constraints-lowest.txt > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/constraints.txt \
		'torch==$(LOWEST_TORCH)' --editable '.[$(EXTRAS)]'
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt \
		beartype hypothesis pytest pytest-socket pytest-xdist
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
