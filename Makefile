VENV   ?= .venv
PYTHON ?= python3
# torch and torchvision of one release; on a machine without a GPU, point pip at PyTorch's CPU wheels to save gigabytes
TORCH  ?= torch==2.13.0 torchvision==0.28.0
RUN     = $(VENV)/bin/python
READY   = $(VENV)/.installed

.PHONY: help install demo test test-all lint check-conf docs table status bench zoo sync clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet $(TORCH)
	$(RUN) -m pip install --quiet --editable '.[dev,docs,parity,onnx,timm,huggingface,joblib,slurm,ray]'
	touch $@

install: $(READY) ## virtual environment with everything, in .venv

demo: $(READY) ## both tables and the figures of the POMELO paper on the built-in faces, in minutes
	$(RUN) scripts/demo.py

test: $(READY) ## the tests, a process of one thread per core: a quarter of an hour on two
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist worksteal -m 'not slow and not gpu'

test-all: $(READY) ## every test, the slow ones too
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist worksteal

lint: $(READY) ## ruff
	$(RUN) -m ruff check . && $(RUN) -m ruff format --check .

check-conf: $(READY) ## compose and check every config and preset
	$(RUN) scripts/check_conf.py

docs: $(READY) ## reference pages written again, and the documentation as a site in build/site
	$(RUN) scripts/reference.py
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

table: $(READY) ## a table with its claims from stored scores: make table T=pomelo_table1 [A='scale=smoke']
	$(RUN) scripts/table.py $(T) $(A)

status: $(READY) ## done, failed and missing cells of a table: make status T=pomelo_table1
	$(RUN) scripts/status.py $(T) $(A)

bench: $(READY) ## ratios against other packages and against the classifier's own time
	$(RUN) scripts/bench.py

zoo: $(READY) ## train every shipped weight again, resumable
	$(RUN) scripts/zoo.py

sync: $(READY) ## upload finished offline W&B runs
	$(RUN) scripts/sync.py

clean: ## remove caches; outputs stay
	rm -rf .pytest_cache .ruff_cache build dist *.egg-info; find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
