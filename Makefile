# qa-env: `make help` lists what there is to type.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
SAM := .venv-sam/bin/sam
CHECKOV := .venv-checkov/bin/checkov
PYTHON := $(VENV)/bin/python
MODULE := PYTHONPATH=src:. $(PYTHON) -m
PYTEST := $(VENV)/bin/pytest

# What `make build` builds for and from; scripts/build.py reads them.
ARCHITECTURE ?= arm64
BLUEPRINTS ?= $(CURDIR)/blueprints
export ARCHITECTURE
export BLUEPRINTS := $(abspath $(BLUEPRINTS))
export SAM_CLI_TELEMETRY := 0

.PHONY: help setup servers browser test check format lint types layers template demo run screenshots event chaos crash \
        bench build deploy redrive schema clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Setting up ---------------------------------------------------------------------------------------------

setup: $(VENV)/.stamp ## Virtual environment with everything, .venv/bin/qa-env included (Python >= 3.11)

# Built with the setuptools that is there then: nothing else is fetched for it.
$(VENV)/.stamp: requirements-dev.txt src/requirements.txt pyproject.toml
	@scripts/venv.sh $(VENV) requirements-dev.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-sam/.stamp: requirements-sam.txt
	@scripts/venv.sh .venv-sam requirements-sam.txt
	@touch $@

.venv-checkov/.stamp: requirements-checkov.txt
	@scripts/venv.sh .venv-checkov requirements-checkov.txt
	@touch $@

# Of MariaDB only the programs: they come without a service of their own.
servers: ## MariaDB and Redis for tests and the local stack: says so before installing them by apt
	@scripts/need.sh mariadbd=mariadb-server-core mariadb-install-db=mariadb-server-core \
	    my_print_defaults=mariadb-client-core redis-server=redis-server

browser: ## Chromium for tests and screenshots, and a font with Japanese in it: the same way
	@scripts/need.sh chromium=chromium /usr/share/fonts/opentype/noto=fonts-noto-cjk

# --- Using it -----------------------------------------------------------------------------------------------

demo: setup servers ## The main job on this machine, from push to delete, with what comes up and what goes
	@$(MODULE) local.demo

run: setup servers ## The same stack, staying up; prints where to look and what to type. Ctrl-C ends all of it
	@$(MODULE) local.run

screenshots: setup servers browser ## Pictures of list, detail and curtain, of the local stack, into docs/images/
	@$(MODULE) local.screenshots

event: setup ## Sign and send a payload to the running stack: make event E=events/push-….json
	@test -n "$(E)" || { echo "which one? make event E=events/…json" >&2; exit 2; }
	@$(MODULE) local.send "$(E)"

schema: setup ## Write docs/blueprint.schema.json, the blueprint's JSON Schema for editors
	@mkdir -p docs
	@$(MODULE) qa_env.blueprint schema > docs/blueprint.schema.json.new
	@mv docs/blueprint.schema.json.new docs/blueprint.schema.json

# --- Checking it --------------------------------------------------------------------------------------------

test: setup servers browser ## Install what is missing, then run all tests
	@$(PYTEST) -n 2

# SKIP_TESTS=1 leaves the tests to somebody else: .ci/run runs them once, last.
check: format lint types layers template $(if $(SKIP_TESTS),,test) ## Formatting, lint, types, layers, template, tests (SKIP_TESTS=1: without)

format: setup
	@$(VENV)/bin/ruff format --check

lint: setup
	@$(VENV)/bin/ruff check

types: setup
	@$(VENV)/bin/mypy --strict src scripts

layers: setup
	@$(PYTEST) tests/test_layers.py

# cfn-lint and checkov see some mistakes only in what SAM makes of the template, so they get that; sam validate
# gets the original. checkov's exceptions and their reasons are in .checkov.yaml.
template: setup .venv-sam/.stamp .venv-checkov/.stamp
	@mkdir -p build
	@$(MODULE) scripts.expand > build/expanded.json
	@$(VENV)/bin/cfn-lint --regions eu-west-1 -- build/expanded.json
	@$(VENV)/bin/cfn-lint --regions ap-northeast-1 eu-west-1 -- infra/example/template.yaml infra/example/list-page.yaml
	@$(CHECKOV) --config-file .checkov.yaml --file build/expanded.json
	@$(SAM) validate --lint --region eu-west-1

chaos: setup ## Random histories of everything that can go wrong (SEEDS=1000 FIRST=0 JOBS=2); docs/reliability.md
	@$(MODULE) tests.chaos.histories --seeds $(or $(SEEDS),200) --first $(or $(FIRST),0) --jobs $(or $(JOBS),2)

crash: setup ## The life of an environment, with a crash at every call (EVERY=1 JOBS=2); docs/reliability.md
	@$(MODULE) tests.chaos.crash --every $(or $(EVERY),1) --jobs $(or $(JOBS),2)

bench: setup servers ## Measure, never judge; half an hour, or B="calls first_pass" (docs/performance.md)
	@$(MODULE) bench $(B)

# --- Installing it in an AWS account ------------------------------------------------------------------------

# The template that is built admits only the processor it was built for, so the two cannot differ.
build: setup .venv-sam/.stamp ## Build the functions from blueprints/ (ARCHITECTURE=x86_64, BLUEPRINTS=dir)
	@mkdir -p build
	@sed -e 's/Default: arm64$$/Default: $(ARCHITECTURE)/' \
	     -e 's/AllowedValues: \[arm64, x86_64\]$$/AllowedValues: [$(ARCHITECTURE)]/' template.yaml > build/template.yaml
	@PYTHON=$(abspath $(PYTHON)) $(SAM) build --template build/template.yaml --base-dir $(CURDIR)

deploy: build ## Build, then ask and deploy to AWS (sam deploy --guided)
	@$(SAM) deploy --guided

redrive: setup ## Bring dead letters back to the queue, saying what each is about (DRY=1: only list, STACK=name)
	@$(MODULE) qa_env.cli.main redrive $(if $(STACK),--stack "$(STACK)") $(if $(DRY),--dry-run)

clean: ## Remove what was built (the virtual environments stay)
	@rm -rf build src/*.egg-info .aws-sam .mypy_cache .ruff_cache .hypothesis .pytest_cache
