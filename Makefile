# Two commands matter: `make demo` and `make test`. Both set themselves up.
# `make bench NVFLARE=/path/to/python` also times NVFLARE, in an environment of its own;
# so does `make bench-peers`, which holds ours against plain Flower in a whole training.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

ONLY ?=

.PHONY: setup demo quick quick-tests test slow-tests lint bench bench-peers verify clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("OsteoFed needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Give another with: make PYTHON=python3.12 $(MAKECMDGOALS)") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[client,server,dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/osteofed demo --out runs/demo

# Before a commit: lint beside every test that is not slow; `make quick ONLY=tests/client` a part.
quick: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick-tests

quick-tests: setup
	$(BIN)/python -m pytest --numprocesses=auto -m "not slow" $(ONLY)

# Everything that must always hold; `make test ONLY=tests/server/test_rounds.py` a part.
test: setup
	$(BIN)/python -m pytest --numprocesses=auto $(ONLY)

# The list of slow tests, made from one run of everything that records what each test costs.
slow-tests: setup
	rm -f runs/test-costs.jsonl
	mkdir -p runs
	$(BIN)/python -m pytest --numprocesses=auto --record-costs=runs/test-costs.jsonl
	$(BIN)/python -m tests.suite.slow runs/test-costs.jsonl

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy server client shared tests

bench: setup
	$(BIN)/python -m tests.benchmarks.commands
	$(BIN)/python -m tests.benchmarks.step
	$(BIN)/python -m tests.benchmarks.rounds $(if $(NVFLARE),--nvflare $(NVFLARE))
	$(BIN)/python -m tests.benchmarks.sites

# Full-size checks; what is stored is not made again. ONLY=TOPIC: one of them (LIST=1 says which).
verify: setup
	$(BIN)/python -m tests.verify $(if $(LIST),--list) $(ONLY)

bench-peers: setup
	$(BIN)/python -m tests.benchmarks.peers $(if $(NVFLARE),--nvflare $(NVFLARE))

clean:
	rm -rf runs .mypy_cache .ruff_cache .pytest_cache
