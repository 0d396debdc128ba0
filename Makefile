PYTHON ?= python3
PRESET ?= quick
BIN := .venv/bin
READY := .venv/ready
SECONDS := .venv/seconds
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# uv takes a fifth of pip's processor time. It does not read pip's settings, so pip comes second.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps
ON_ALL_CORES := --numprocesses auto --dist loadfile --no-loadscope-reorder

# If this is set, as in many containers, each process compiles all of its modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: report status test lab docs site clean help

report: $(READY)  ## run a study, draw its figures and write its PDF (PRESET=quick, paper, rate …; RETRAIN=1; EXECUTOR=slurm; TORCH=cpu)
	@export VQLIB_PACKAGES="$$(cat $(SECONDS) 2> /dev/null)"; rm -f $(SECONDS); \
	$(BIN)/vqlib study $(PRESET) $(if $(RETRAIN),--retrain) $(if $(KEEP_GOING),--keep-going) $(if $(EXECUTOR),--executor $(EXECUTOR))

status: $(READY)  ## list the runs under way: epoch, losses, time left
	@$(BIN)/vqlib status

test: $(READY)  ## run linter, type checker and all tests, with the notebooks and a tiny study
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q $(ON_ALL_CORES)
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/pytest -q -p one_epoch $(ON_ALL_CORES) --nbval --nbval-current-env notebooks/

lab: $(READY)  ## open the project in JupyterLab
	@test -w "$$HOME" || export HOME=$$(mktemp -d); \
	$(BIN)/jupyter lab --config=.jupyter/jupyter_lab_config.py $$(test $$(id -u) != 0 || echo --allow-root)

docs: $(READY)  ## update the blocks of numbers in README and docs
	$(BIN)/cog -r README.md docs/speed.md docs/scaling.md docs/teaching.md

site: $(READY)  ## make a site of all pages, notebooks and docstrings in site/_build/html/
	@$(BIN)/python site/build.py

clean:  ## remove .venv/, and all files in results/, figures/ and report/ that git does not track
	rm -rf .venv .snakemake .pytest_cache .ruff_cache .mypy_cache *.egg-info site/_build
	git clean -fdxq results figures report

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1:/p' $(MAKEFILE_LIST) | sed 's/:  */ /' | awk '{name=$$1; $$1=""; printf "  make %-7s%s\n", name, $$0}'

$(READY): requirements.lock pyproject.toml
	@echo "Setting up .venv (several hundred MB to several GB; only the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	@date +%s > $(SECONDS)
	$(PIP) uv
ifeq ($(TORCH),cpu)  # uv knows where PyTorch keeps its builds without GPU libraries
	grep -vE '^(cuda|nvidia|triton)' requirements.lock > .venv/cpu.lock
	$(UV) --torch-backend cpu --requirement .venv/cpu.lock --editable .
else
	$(UV) --requirement requirements.lock --editable . || \
	$(PIP) --no-deps --requirement requirements.lock --editable .
endif
	@echo $$(($$(date +%s) - $$(cat $(SECONDS)))) > $(SECONDS) && touch $@
