# The two commands: `make demo` runs the closed loop on a year of flights, `make test` is what every change must pass.
# `make slow` runs the tests that take longer than ten seconds each and asks every property of many examples; `make coverage`
# says which lines no test reaches, in one and a half times the time. CI runs all three. `make fuzz` asks of new examples, as long as it is told.
# Another Python stands beside the first: make test PYTHON=python3.13 VENV=.venv313
# Needed beforehand: Python 3.11 or newer with venv, make, and a package registry. Nothing is installed outside of .venv.

PYTHON ?= python3
VENV := .venv
PEERS := .peers
BIN := $(VENV)/bin
UV := $(BIN)/uv
LOCK := requirements
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml
# Every extra but torch, which brings gigabytes of GPU libraries: its tests ask for it by name.
EXTRAS := catboost demo lightgbm onnx pickle postgres redis s3 sklearn tune ui xgboost
# What a user asks of the demo, for example `make demo DEMO="--fast --keep"`
DEMO ?=
CHAOS ?=
FUZZ ?=
SECONDS ?= 300
# Processes that tests run in
JOBS ?= 2

.PHONY: chaos demo test tests coverage slow fuzz check docs mutants peers lock wheel clean

demo: $(VENV)/.demo
	$(BIN)/rota demo $(DEMO)

test: check tests

tests: $(VENV)/.dev
	$(BIN)/pytest -m 'not slow' -n $(JOBS) --dist worksteal

coverage: $(VENV)/.dev
	$(BIN)/pytest -m 'not slow' -n $(JOBS) --dist worksteal --cov --cov-report=term

# Faults by the hundred on real processes, then everything acknowledged is read back; hours as a whole, for example CHAOS="--seed 7 --kills 50"
chaos: $(VENV)/.dev
	$(BIN)/python -m benchmarks.operation.chaos $(CHAOS)

slow: $(VENV)/.dev
	$(BIN)/pytest -m 'slow or hypothesis' --hypothesis-profile=many -n $(JOBS) --dist loadfile

# New examples instead of those that every change is held against: FUZZ="-k intake" chooses, SECONDS says how long each test looks
fuzz: $(VENV)/.dev
	ROTA_FUZZ_SECONDS=$(SECONDS) ROTA_FUZZ_EXAMPLES=200 $(BIN)/pytest -m 'hypothesis or fuzz' --hypothesis-profile=new -n $(JOBS) $(FUZZ)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages that are generated from the code; a test holds them equal.
docs: $(VENV)/.dev
	$(BIN)/rota settings --markdown > docs/settings.md
	$(BIN)/python benchmarks/house/problems.py
	$(BIN)/python benchmarks/house/glossary.py

# Small faults in a copy of what decides, drawn at random: do the tests notice? MUTANTS="--sample 200 --only judge" is handed on.
mutants: $(VENV)/.dev
	$(BIN)/python benchmarks/house/mutants.py $(MUTANTS)

# The MLflow clients and the server of the contract tests, and the clients of the Open Inference Protocol, each in an environment of its own.
peers: $(PEERS)/.mlflow3 $(PEERS)/.mlflow2 $(PEERS)/.inference

wheel: $(VENV)/.dev
	$(BIN)/python -m hatchling build --target wheel

# New versions within pyproject.toml's bounds. The smaller locks take their versions from dev.txt, so that all four agree.
lock: $(VENV)/.installer
	$(COMPILE) --upgrade $(EXTRAS:%=--extra %) --group dev --group build --output-file $(LOCK)/dev.txt
	$(COMPILE) --upgrade --extra demo --group build --constraints $(LOCK)/dev.txt --output-file $(LOCK)/demo.txt
	$(COMPILE) --upgrade --constraints $(LOCK)/dev.txt --output-file $(LOCK)/base.txt
	$(COMPILE:pyproject.toml=--upgrade --group pyproject.toml:installer --output-file $(LOCK)/installer.txt)
	printf 'mlflow==3.17.2\nlightgbm\n' | $(COMPILE:pyproject.toml=--upgrade --output-file $(LOCK)/mlflow3.txt -)
	printf 'mlflow==2.22.5\nlightgbm\n' | $(COMPILE:pyproject.toml=--upgrade --output-file $(LOCK)/mlflow2.txt -)
	printf 'tritonclient[http]==2.73.0\nkserve==0.21.0\n' | $(COMPILE:pyproject.toml=--upgrade --output-file $(LOCK)/inference.txt -)
	@! grep -nE '://|--(extra-)?index|--find-links' $(LOCK)/*.txt || { echo 'a lock names an index; remove it'; exit 1; }

clean:
	rm -rf $(VENV) $(PEERS) dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The environment. Each stamp is younger than the lock it was installed from, so a second run installs nothing.
# uv is quick; where it cannot be had or cannot reach the registry that pip is configured for, pip installs the same lock.

$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: $(LOCK)/%.txt $(VENV)/.installer pyproject.toml
	@if [ -x $(UV) ] && $(UV) pip install --python $(BIN)/python --require-hashes -r $<; then :; else \
	    echo 'uv is not to be had here; pip installs the same lock, which takes longer'; \
	    $(BIN)/python -m pip install --require-hashes -r $<; fi
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@$(BIN)/python -c 'import lightgbm' || { echo 'LightGBM needs the system library libgomp: apt-get install libgomp1'; exit 1; }
	@touch $@

$(PEERS)/.%: $(LOCK)/%.txt $(VENV)/.installer
	@if [ -x $(UV) ] && $(UV) venv --quiet --clear --python $(BIN)/python $(PEERS)/$* && \
	    $(UV) pip install --quiet --compile-bytecode --python $(PEERS)/$*/bin/python --require-hashes -r $<; then :; else \
	    rm -rf $(PEERS)/$* && $(BIN)/python -m venv $(PEERS)/$* && $(PEERS)/$*/bin/python -m pip install --quiet --require-hashes -r $<; fi
	@touch $@

$(VENV)/.installer: $(LOCK)/installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo '$(PYTHON) is older than 3.11; name another: make PYTHON=python3.11'; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'no venv in $(PYTHON): apt-get install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes -r $< || echo 'uv was not installed; going on with pip'
	@touch $@
