# The commands of this house. Everything is installed from hash-locked files into .venv; outside this folder
# only caches are written (~/.cache).
.PHONY: demo test lint docs bench install install-tests lock clean
.DEFAULT_GOAL := help
PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE # compiled once, imports take half the time
BIN := .venv/bin
UV := $(BIN)/uv
NPM = PATH="$(abspath $(BIN)):$$PATH" npm --no-audit --no-fund --no-update-notifier --loglevel=error --ignore-scripts
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --custom-compile-command 'make lock'

help:
	@echo "make demo    a real project from a commit to production, on this machine (ON=azure-devops by its pipelines instead of"
	@echo "             its GitHub workflows; APPROVE=ask asks you at production's gate; KEEP=1 leaves the emulator running)"
	@echo "make test    every test"
	@echo "make lint    style, types, workflows"
	@echo "make docs    bring the generated tables up to date"
	@echo "make bench   the figures we keep"
	@echo "make lock    bring the locked requirements up to date (UPGRADE=--upgrade for newer versions)"
	@echo "make clean   remove what these commands made"

demo: install $(if $(filter azure-devops,$(ON)),install-tests)
	@$(BIN)/python scripts/_demo.py $(if $(ON),--on $(ON)) $(if $(APPROVE),--approve $(APPROVE)) $(if $(KEEP),--keep) $(if $(RETRAIN),--retrain)

test: install-tests
	@$(BIN)/python -m pytest

lint: install-tests
	@$(BIN)/python scripts/_lint.py

docs: install-tests
	@$(BIN)/python scripts/_docs.py

bench: install-tests
	@$(BIN)/python scripts/_bench.py

install: .venv/.emulator scripts/emulator/azurite/node_modules/.installed
install-tests: .venv/.tests .venv-az/.installed .venv-example/.installed scripts/emulator/azurite/node_modules/.installed \
  tests/browser/node_modules/.installed

$(UV): scripts/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/bootstrap.txt
	@touch $(UV)

.venv/.emulator: scripts/emulator/requirements.txt | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r scripts/emulator/requirements.txt
	@touch $@

.venv/.tests: tests/requirements.txt scripts/emulator/requirements.txt | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r tests/requirements.txt
	@touch $@ .venv/.emulator

.venv-az/.installed: tests/azure-cli.txt | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-az
	@$(UV) pip install --quiet --python .venv-az/bin/python --require-hashes -r tests/azure-cli.txt
	@touch $@

.venv-example/.installed: examples/flight-delay/tests/requirements.txt | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-example
	@$(UV) pip install --quiet --python .venv-example/bin/python --require-hashes -r examples/flight-delay/tests/requirements.txt
	@touch $@

scripts/emulator/azurite/node_modules/.installed: scripts/emulator/azurite/package-lock.json | .venv/.emulator
	@cd scripts/emulator/azurite && $(NPM) ci --omit=dev > /dev/null
	@touch $@

tests/browser/node_modules/.installed: tests/browser/package-lock.json tests/browser/unpack.mjs | .venv/.emulator
	@cd tests/browser && $(NPM) ci --omit=dev > /dev/null && $(abspath $(BIN))/node unpack.mjs
	@touch $@

lock: | $(UV) .venv/.emulator
	@$(COMPILE) $(UPGRADE) scripts/bootstrap.in -o scripts/bootstrap.txt
	@# The whole is resolved first; the verbs then get the very versions that the tests run with.
	@$(COMPILE) $(UPGRADE) tests/requirements.in -o tests/requirements.txt
	@$(COMPILE) scripts/emulator/requirements.in -c tests/requirements.txt -o scripts/emulator/requirements.txt
	@$(COMPILE) scripts/requirements.in -c tests/requirements.txt -o scripts/requirements.txt
	@$(COMPILE) $(UPGRADE) tests/azure-cli.in -o tests/azure-cli.txt
	@for folder in scripts/emulator/azurite tests/browser; do (cd $$folder && \
	  $(NPM) $(if $(UPGRADE),update,install) --package-lock-only --omit-lockfile-registry-resolved > /dev/null) || exit 1; done

clean:
	@for home in .demo/emulator .emulator; do test ! -e $$home/emulator.json || $(BIN)/python scripts/emulator --home $$home stop; done
	@rm -rf .venv .venv-az .venv-example .demo .emulator .cache .mypy_cache .ruff_cache .pytest_cache scripts/emulator/azurite/node_modules tests/browser/node_modules
