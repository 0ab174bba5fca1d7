# Two commands matter: `make demo` and `make test`. Both set themselves up.
# `make bench NVFLARE=/path/to/python` also times NVFLARE, in an environment of its own;
# so does `make bench-peers`, which holds ours against plain Flower in a whole training.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

ONLY ?=
# The order is random and its seed printed; the same again: ORDER=--randomly-seed=N
ORDER ?=

.PHONY: setup demo quick quick-tests test slow-tests lint bench bench-peers verify clean

setup: $(STAMP)

# Each step of it says what to do when it fails; started again, it goes on where it stopped.
# Of twenty thousand modules a fifth is ever imported: each is compiled when it is, not here, which
# is a minute and a half of a processor less.
# A half-made environment (no working pip in it, or of an old Python) is made anew.
PIP_LOG := $(VENV)/pip-errors.log
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'make setup: $(PYTHON) is not there. Install Python 3.11 or newer, or name it: make setup PYTHON=/path/to/python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("OsteoFed needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Give another with: make PYTHON=python3.12 $(MAKECMDGOALS)") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import sys, importlib.util as u; v = "python%d.%d-venv" % sys.version_info[:2]; sys.exit("make setup: this Python cannot make environments (ensurepip is missing). On Debian or Ubuntu: sudo apt-get install " + v + "; then make setup again") if not (u.find_spec("venv") and u.find_spec("ensurepip")) else None'
	@echo 'Setting up OsteoFed in $(VENV): it downloads and installs its libraries, in about three minutes, and takes about 3 GB of disk. Once only.'
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo 'make setup: the environment $(VENV) could not be made; the reason stands above. Remove the cause (no room, no right to write here), then make setup again' >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[client,server,dev]' 2>$(PIP_LOG) || { \
	  cat $(PIP_LOG) >&2; \
	  if grep -qiE 'no space left|errno 28|disk quota' $(PIP_LOG); then \
	    echo 'make setup: the disk is full. The libraries take about 3 GB here and as much for a while in the folder for temporary files (another with: TMPDIR=/path make setup). Make room, then make setup again: what is there is kept' >&2; \
	  elif grep -qiE 'connection|timed out|resolution|ssl|certificate|proxy|could not find a version|no matching distribution|http error|client error' $(PIP_LOG); then \
	    echo 'make setup: the package index could not be reached, or lacks what is named above. Check the network; behind a proxy: export HTTPS_PROXY=http://HOST:PORT; with a mirror: export PIP_INDEX_URL=https://HOST/simple. Then make setup again: what is there is kept' >&2; \
	  else \
	    echo 'make setup: pip did not finish; the reason stands above. Then make setup again; if it stays, begin anew: rm -rf $(VENV)' >&2; \
	  fi; exit 1; }
	@rm -f $(PIP_LOG)
	@touch $(STAMP)
	@echo 'Set up: $(BIN)/osteofed. Next: make demo, or $(BIN)/osteofed --help'

demo: setup
	$(BIN)/osteofed demo --out runs/demo

# Before a commit: lint beside every test that is not slow; `make quick ONLY=tests/client` a part.
quick: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick-tests

quick-tests: setup
	$(BIN)/python -m pytest --numprocesses=auto $(ORDER) -m "not slow" $(ONLY)

# Everything that must always hold; `make test ONLY=tests/server/rounds/test_train.py` a part.
test: setup
	$(BIN)/python -m pytest --numprocesses=auto $(ORDER) $(ONLY)

# The list of slow tests, made from one run of everything that records what each test costs.
slow-tests: setup
	rm -f runs/test-costs.jsonl
	mkdir -p runs
	$(BIN)/python -m pytest --numprocesses=auto $(ORDER) --record-costs=runs/test-costs.jsonl
	$(BIN)/python -m tests.suite.slow runs/test-costs.jsonl

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy server client shared tests

bench: setup
	$(BIN)/python -m tests.benchmarks.commands
	$(BIN)/python -m tests.benchmarks.start_up
	$(BIN)/python -m tests.benchmarks.step
	$(BIN)/python -m tests.benchmarks.ct_study
	$(BIN)/python -m tests.benchmarks.rounds $(if $(NVFLARE),--nvflare $(NVFLARE))
	$(BIN)/python -m tests.benchmarks.sites

# Full-size checks; what is stored is not made again. ONLY=TOPIC: one of them (LIST=1 says which).
verify: setup
	$(BIN)/python -m tests.verify $(if $(LIST),--list) $(ONLY)

bench-peers: setup
	$(BIN)/python -m tests.benchmarks.peers $(if $(NVFLARE),--nvflare $(NVFLARE))

clean:
	rm -rf runs .mypy_cache .ruff_cache .pytest_cache
