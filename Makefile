# The two commands of the README are `make run` and `make test`; `make help` lists the others.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Kernel and cluster work needs root; an ordinary user is asked for a password once.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
# Quiet: machines with extra package indexes get a warning for each package that one of them lacks.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check -qq install -c constraints.txt

.PHONY: help run test check lint fmt unit bench compatibility images lock clean
help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

run: $(VENV)/installed-all ## trace this machine for five seconds (examples/syscalls.yaml) and print the final status
	@hack/prepare-machine.sh run
	@$(ROOT) $(BIN)/kubebpf run --duration 5 examples/syscalls.yaml

test: $(VENV)/installed-dev ## everything: lint, types, unit, kernel and cluster tests, none skipped
	@hack/prepare-machine.sh test
	@$(MAKE) --no-print-directory lint
	$(ROOT) env KUBEBPF_NO_SKIP=1 hack/run-tests.sh $(BIN)/pytest $(ARGS)

unit: $(VENV)/installed-dev ## the tests that need neither root nor a cluster
	$(BIN)/pytest -m "not kernel and not cluster and not vm" $(ARGS)

lint: $(VENV)/installed-dev ## ruff, mypy, the import contracts, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python hack/sync-crds.py --check
	$(BIN)/python hack/gen-bindings.py --check

fmt: $(VENV)/installed-dev ## format, and bring generated files up to date
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python hack/sync-crds.py
	$(BIN)/python hack/gen-bindings.py

bench: $(VENV)/installed-all ## compare with bpftrace on this machine
	@hack/prepare-machine.sh test
	$(ROOT) $(BIN)/python bench/run.py $(ARGS)

images: ## build both images with buildah, and try them on this machine's kernel
	@$(ROOT) hack/images.sh $(ARGS)

compatibility: $(VENV)/installed-dev ## run every entry of the library, and write docs/compatibility.md
	@hack/prepare-machine.sh test
	$(ROOT) $(BIN)/python hack/compatibility.py --measure $(ARGS)

lock: ## renew constraints.txt: the newest versions that pyproject.toml allows
	rm -rf build/lock && python=$$(hack/find-python) && $$python -m venv build/lock
	build/lock/bin/python -m pip install -q -e '.[dev]'
	{ head -n 1 constraints.txt; build/lock/bin/python -m pip freeze --exclude-editable; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/lock

clean: ## remove what the targets above made, but not the shared cache in ~/.cache/kubebpf
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is filled again only when one of these two files changes. Developers' tools include all that `run` needs.
$(VENV)/bin/python:
	@python=$$(hack/find-python) && $$python -m venv $(VENV)

$(VENV)/installed-all: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing kubebpf into $(VENV) (once, about half a minute)" >&2
	@$(INSTALL) -e '.[all]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing kubebpf and its developers' tools into $(VENV) (once, about a minute)" >&2
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/installed-all
