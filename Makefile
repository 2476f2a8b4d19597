.DEFAULT_GOAL := help
PY := .venv/bin/python
PYTEST := .venv/bin/pytest -n auto --dist loadgroup

.PHONY: help setup demo test test-all check bench openapi offline-bundle lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from the lock files; install missing system packages where allowed
	@scripts/setup

check: setup ## Formatting, lint, types (strict), import arrows
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy src tests scripts bench
	.venv/bin/lint-imports

test: setup ## All tests but the slow ones, with coverage
	$(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered

test-all: setup ## The slow tests too
	$(PYTEST) --cov --cov-report=term:skip-covered

clean: ## Remove what builds and tests left
	rm -rf build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output bench-output
