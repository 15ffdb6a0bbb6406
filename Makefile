# Every target is a task of scripts/run.py, which sets up .venv first. PYTHON chooses the interpreter, PRESET the size.
PYTHON ?= python3
PRESET ?= $(or $(IMGBOOK_PRESET),quick)
TASKS := setup book test test-site test-classroom test-versions bench bench-quality notebooks lint serve clean

.PHONY: help lock $(TASKS)

help: ## show this list
	@$(PYTHON) scripts/run.py --help

$(TASKS):
	@IMGBOOK_PRESET=$(PRESET) $(PYTHON) scripts/run.py $@

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra book --extra test --extra site --extra build --extra classroom --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade \
	  -o requirements.lock
