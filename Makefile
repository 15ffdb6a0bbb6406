# make book and make test are the two commands; both set up .venv first. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PRESET ?= $(or $(IMGBOOK_PRESET),quick)

.PHONY: help book test serve clean lock lint

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(READY) ## execute every notebook and render the book to _build/html
	$(BIN)/python scripts/build_book.py --preset $(PRESET) $(if $(filter 1,$(IMGBOOK_STRICT)),--strict)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/codespell README.md book src tests scripts

test: lint ## lint, smoke pages with warnings as errors, unit tests, every notebook at preset smoke
	$(BIN)/python scripts/build_book.py --preset smoke --strict
	IMGBOOK_PRESET=smoke $(BIN)/pytest tests book --nbval-lax --nbval-current-env --nbval-cell-timeout 120 -n 2 --dist loadfile

serve: ## serve _build/html at http://localhost:8000
	$(BIN)/python -m http.server 8000 --directory _build/html

clean: ## remove what was built (not .venv)
	rm -rf _build dist .pytest_cache .ruff_cache

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra book --extra test --extra build --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade \
	  -o requirements.lock
