# `make` alone lists the targets. The environment is `.venv`; PYTHON only has to be able to run tools/setup.py.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types lines map build clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## make the environment for development (.venv)
	@$(PYTHON) tools/setup.py test

demo: ## serve the embedded model and ask it something (ARGS=--once: stop after the answer)
	@$(PYTHON) tools/setup.py demo
	@$(BIN)/python tools/demo.py $(ARGS)

test: setup ## format, lint, types, then all tests (ARGS go to pytest)
	@$(BIN)/python tools/check.py $(ARGS)

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## ruff: mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

lines: setup ## lines of each room beside its budget
	@$(BIN)/python -m tools.map lines

map: setup ## write docs/map.md anew
	@$(BIN)/python -m tools.map write

build: setup ## a wheel in dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
