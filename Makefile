# Everything that a contributor or a curious visitor runs. `make help` lists it.
# Needs Python >= 3.11 and make; the rest goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
OUT ?= build/demo
WORKERS ?= logical
PYTEST_ARGS ?=
BENCH ?= --quick

BIN := $(VENV)/bin
PROJECTS := pyproject.toml compiler/pyproject.toml runtime/pyproject.toml constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
PACKAGES := -e ./runtime -e ./compiler -e ".[samples]"
WITH_RIVALS := -e ./runtime -e ./compiler -e ".[samples,benchmarks]"
OR_NONE = $(if $(PYTEST_ARGS),|| [ $$? -eq 5 ])
say = @printf '\n==> %s\n' '$(1)'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage sweep faults soak lint docs bench bench-digits runtime-only clean

help: ## list the commands
	@printf 'recurrent-iree: make <command>\n\n'
	@sed -n 's/^\([a-z-]*\):.* ## /  \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'
	@printf '\nVariables: PYTHON=%s VENV=%s OUT=%s WORKERS=%s PYTEST_ARGS="..."\n' '$(PYTHON)' '$(VENV)' '$(OUT)' '$(WORKERS)'

demo: $(VENV)/.demo ## train, compile and run the digits classifier on every device here
	$(call say,samples/digits.py: train in JAX and compile and run on every device of this machine)
	@$(BIN)/python samples/digits.py --out $(OUT)

test: $(VENV)/.test ## run the tests (minutes)
	$(call say,pytest -m "not slow and not faults and not vulkan" on $(WORKERS) processors)
	@$(PYTEST) -m "not slow and not faults and not vulkan" $(PYTEST_ARGS) $(OR_NONE)
	$(call say,pytest -m vulkan: apart and in one process because a software driver keeps all processors busy)
	@$(PYTEST) -n 1 -m "not slow and not faults and vulkan" $(PYTEST_ARGS) $(OR_NONE)

sweep: $(VENV)/.test ## run the long sweeps, too
	$(call say,pytest -m slow)
	@$(PYTEST) -m slow $(PYTEST_ARGS)

faults: $(VENV)/.test ## corrupted files, bad input, failing storage, threads: tables (10 minutes)
	$(call say,pytest tests/faults)
	@$(BIN)/python -m pytest -v -p no:xdist tests/faults $(PYTEST_ARGS)

soak: $(VENV)/.test ## a million steps, a thousand loads, ten thousand sessions (10 minutes)
	$(call say,benchmarks/soak.py)
	@$(BIN)/python benchmarks/soak.py

coverage: $(VENV)/.test ## branches of the runtime that its tests take (loader 100%, all 95%)
	$(call say,coverage run -m pytest tests/runtime tests/faults)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n0 -m "not slow and not faults" tests/runtime tests/faults $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report
	@mkdir -p build && $(BIN)/coverage json --quiet -o build/coverage.json
	$(call say,.ci/branches.py build/coverage.json)
	@$(BIN)/python .ci/branches.py build/coverage.json

lint: $(VENV)/.lint ## ruff and pyright, as pre-commit and CI run them
	$(call say,ruff check)
	@$(BIN)/ruff check .
	$(call say,pyright)
	@$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs ## build the pages of docs/ into build/site, strictly
	$(call say,mkdocs build --strict)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site
	@echo 'open build/site/index.html'

runtime-only: $(OUT)/digits.riree ## test the runtime alone, in an environment with nothing else
	@.ci/runtime-only $(BIN)/python $(OUT)

bench: $(VENV)/.bench ## measure recurrences against other systems (8 minutes; BENCH=--full: hours)
	$(call say,python -m benchmarks.rivals $(BENCH): the machine should do nothing else)
	@$(BIN)/python -m benchmarks.rivals $(BENCH)

bench-digits: $(OUT)/digits.riree ## measure the digits artifact on every device here and on XLA
	$(call say,recurrent-iree bench $(OUT)/digits.riree)
	@$(BIN)/recurrent-iree bench $(OUT)/digits.riree --report $(OUT)/bench.html

$(OUT)/digits.riree:
	@$(MAKE) demo

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo 'There is no "$(PYTHON)" here: install Python 3.11 or newer, or say where it is: make PYTHON=/path/to/python3.'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "recurrent-iree needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V). Say where a newer one is: make PYTHON=/path/to/python3.11."; exit 1; }
	$(call say,environment $(VENV) with $(PYTHON))
	@$(PYTHON) -m venv --clear $(VENV) || { echo 'Could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv.'; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: $(VENV)/.python $(PROJECTS)
	$(call say,install the three packages and what the samples need)
	$(INSTALL) $(PACKAGES)
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(call say,install the systems to compare with: PyTorch and TensorFlow are large)
	$(INSTALL) $(WITH_RIVALS)
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.demo
	$(call say,install what "make $*" needs)
	$(INSTALL) --group $*
	@touch $@
