# Everything runs in a virtual environment that the first target makes. PYTHON chooses another base.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: setup test check demo bench docs clean

setup: .venv/ready

# The constraints pin torch: at this version a machine without a GPU is served the CPU build.
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

demo: .venv/ready
	$(BIN)/saltlm demo

bench: .venv/ready
	$(BIN)/python benchmarks/map_speed.py --out benchmarks/results/map_speed.json
	$(BIN)/python benchmarks/io_memory.py --out benchmarks/results/io_memory.json
	$(BIN)/python benchmarks/adapt_speed.py --out benchmarks/results/adapt_speed.json

docs: .venv/ready
	SALTLM_WRITE_DOCS=1 $(BIN)/python -m pytest tests/test_docs.py

clean:
	rm -rf .venv dist
