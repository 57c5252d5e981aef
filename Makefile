# What developers and continuous integration run; `make` alone lists it. Needed: GNU make, a POSIX shell with the usual
# tools, Python 3.11 or later, and a package index that pip can reach. Everything is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
# torch is installed where $(VENV) has none yet. To have another build than the pinned one, install it there first, or
# say TORCH='torch==2.13.0 --index-url …'.
TORCH ?= $(shell grep '^torch==' constraints.txt)
# Passed on to pytest, in the checkout and for the wheel, e.g. PYTEST_ARGS='-x -k codec'.
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PINS := $(VENV)/constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt
# These test what no wheel carries: metadata, sources, generators, documentation.
CHECKOUT_TESTS := packaging layers worldgen modelgen benchmarks examples readme docs

step = @printf '\n== %s\n' "$(1)"

define install_torch
$(call step,pip install torch unless $(VENV) has one: about half a minute)
@$(BIN)/python -c 'import torch; print("torch", torch.__version__)' 2>/dev/null \
    || $(PIP) install -c $(PINS) $(TORCH)
endef

.PHONY: help demo test lint unit check-wheel test-grounding atlas bench clean
.DELETE_ON_ERROR:
# The steps of `make test` run one by one, in the order in which they are quickest to fail, also under -j.
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## let agents play the bundled world and a small policy learn on it (4 minutes); writes runs/demo
	$(call step,examples/demo.py)
	@$(BIN)/python examples/demo.py

test: lint unit check-wheel ## lint, the tests, and the tests again with the built wheel: what CI runs

lint: $(VENV)/.dev ## ruff format --check, ruff check, mypy --strict, codespell
	$(call step,ruff format --check)
	@$(BIN)/ruff format --check .
	$(call step,ruff check)
	@$(BIN)/ruff check .
	$(call step,mypy --strict)
	@$(BIN)/mypy
	$(call step,codespell)
	@$(BIN)/codespell

unit: $(VENV)/.dev ## the tests, in the checkout
	$(call step,pytest in the checkout)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# The wheel is built from the sdist, so both are tried. It gets a fresh environment without torch and the learners'
# extras, and the tests get a folder of their own, where the checkout's packages cannot stand in for the wheel's.
check-wheel: $(VENV)/.dev ## build sdist and wheel, install the wheel elsewhere, run the tests there
	$(call step,python -m build: the sdist and from it the wheel)
	@rm -rf build dist
	@$(BIN)/python -m build >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@ls -l dist
	$(call step,pytest with the wheel in a fresh environment outside the checkout)
	@set -e; pins=$$PWD/$(PINS); wheel=$$(ls "$$PWD"/dist/*.whl); \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; trap 'exit 1' HUP INT TERM; \
	$(BIN)/python -m venv "$$work/venv"; \
	"$$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install -c "$$pins" \
	    "mmsearch-env[record,report] @ file://$$wheel" hypothesis pytest pytest-timeout; \
	site=$$("$$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	diff -rq -x __pycache__ -x fixtures mmsearch_env "$$site/mmsearch_env"; \
	diff -rq -x __pycache__ agents/mmsearch_agents "$$site/mmsearch_agents"; \
	diff -rq fixtures "$$site/mmsearch_env/fixtures"; \
	echo "the wheel holds every file of mmsearch_env, mmsearch_agents and fixtures"; \
	mkdir "$$work/elsewhere"; cp -R tests worldgen setup.cfg "$$work/elsewhere"; cd "$$work/elsewhere"; \
	for subject in $(CHECKOUT_TESTS); do rm -f tests/test_$$subject.py tests/test_$${subject}_*.py; done; \
	"$$work/venv/bin/python" -P -c 'import mmsearch_env; print("tested:", *mmsearch_env.__path__)'; \
	"$$work/venv/bin/python" -m pytest $(PYTEST_ARGS)

# groundingdino-py needs torchvision, which exists for the registry's torch alone: so torch is not the one of $(VENV).
test-grounding: $(VENV)/grounding/.made ## both Grounding DINO backends on their real classes: about 6 GB and 5 minutes
	$(call step,pytest with groundingdino-py)
	@$(VENV)/grounding/bin/python -m pytest $(PYTEST_ARGS) --junitxml=$(VENV)/grounding/results.xml \
	    tests/test_grounding_dino.py tests/contracts/test_grounders.py
	$(call step,benchmarks/results/grounding_dino.md)
	@$(VENV)/grounding/bin/python -m tests.grounding_report $(VENV)/grounding/results.xml \
	    benchmarks/results/grounding_dino.md

atlas: $(VENV)/.dev ## generate fixtures/atlas anew from worldgen/
	$(call step,python -m worldgen fixtures/atlas)
	@$(BIN)/python -m worldgen fixtures/atlas

bench: $(VENV)/.dev ## run every script of benchmarks/; the figures go to benchmarks/results
	@set -e; for script in $$(grep -l '__main__' benchmarks/*.py); do \
	    name=benchmarks.$$(basename "$$script" .py); printf '\n== python -m %s\n' "$$name"; $(BIN)/python -m "$$name"; \
	done

clean: ## remove the environment, what was built and all caches; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What pip has installed is marked by empty files, made anew when the metadata or the pins change.
$(VENV)/.made:
	$(call step,a virtual environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmsearch-env needs Python 3.11 or later, \
	got " + sys.version.split()[0] + ": name one with make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(PINS): constraints.txt $(VENV)/.made
	@grep -v '^torch==' constraints.txt >$@

$(VENV)/grounding/.made: $(METADATA) $(PINS)
	$(call step,pip install the library with groundingdino-py into $(VENV)/grounding: about 3 minutes)
	@test -x $(VENV)/grounding/bin/python || $(PYTHON) -m venv $(VENV)/grounding
	@$(VENV)/grounding/bin/python -m pip --quiet --disable-pip-version-check install -c $(PINS) \
	    -e '.[grounding,saliency]' hypothesis pytest pytest-timeout
	@touch $@

$(VENV)/.demo: $(METADATA) $(PINS)
	$(install_torch)
	$(call step,pip install the library with the extras agents and report: about a minute)
	@$(PIP) install -c $(PINS) -e '.[agents,report]'
	@touch $@

$(VENV)/.dev: $(METADATA) $(PINS)
	$(install_torch)
	$(call step,pip install the library with the extras that are tested: about a minute)
	@$(PIP) install -c $(PINS) -e '.[agents,deepspeed,encoders,sb3,record,report,saliency,tensorboard,dev]'
	@touch $@
