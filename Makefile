.DEFAULT_GOAL := help
PY := .venv/bin/python
# A file's tests share what is made for it, an HSM or a server: they stay together, and files go in their order.
PYTEST := .venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder
RECORDS := .pytest_cache/attacks.json
ATTACKS := --attack-records=$(RECORDS) --attack-page=docs/security/attacks.md
ROWS := .pytest_cache/compatibility.json
COMPAT := --compat-records=$(ROWS) --compat-page=docs/compatibility.md

# Where the environment keeps Python from writing bytecode, every process that the tests start would compile all anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-all check attacks compatibility fuzz bench openapi client offline-bundle lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from the lock files; install missing system packages where allowed
	@scripts/setup

check: setup ## Formatting, lint, types (strict), import arrows
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy src tests scripts bench
	.venv/bin/lint-imports

test: setup ## All tests but the slow ones
	$(PYTEST) $(ATTACKS) $(COMPAT) -m "not slow"

test-all: setup ## The slow tests too, with coverage
	$(PYTEST) $(ATTACKS) $(COMPAT) --cov --cov-report=term:skip-covered

attacks: setup ## Run the hostile broker, and write docs/security/attacks.md of what it heard
	$(PYTEST) --attack-records=$(RECORDS) tests/hostile
	$(PY) scripts/attacks.py $(RECORDS) > docs/security/attacks.md

compatibility: setup ## Try every documented endpoint and algorithm, and write docs/compatibility.md of what was seen
	$(PYTEST) --compat-records=$(ROWS) tests/compat
	$(PY) scripts/compatibility.py $(ROWS) --write docs/compatibility.md

fuzz: setup ## Fuzz every parser of the boundary, then every endpoint, FUZZ_SECONDS=600 each; finds go to tests/fuzz/crashes
	@PYTHONPATH=tests $(PY) -m fuzz.run $(FUZZ)
	@PYTHONPATH=tests $(PY) -W ignore -m fuzz.conversations

bench: setup ## Speed against the raw limits: a table, and bench-output/bench.json
	$(PY) bench/run.py

demo: setup ## The whole air-gapped story on real keys, in demo-output/
	@$(PY) scripts/demo.py

offline-bundle: setup ## One file that installs keyturn where there is no network
	$(PY) scripts/offline_bundle.py --wheels "$$(cat .venv/.wheels)" --out dist

openapi: setup ## Write docs/openapi.json from the code
	$(PY) -m keyturn.api.openapi > docs/openapi.json

client: setup ## Write the asynchronous client, made of the synchronous one
	$(PY) scripts/async_client.py

lock: ## Renew the lock files (versions and hashes, no host)
	scripts/lock

clean: ## Remove what builds and tests left
	rm -rf build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output bench-output
