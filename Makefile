# Each goal makes the environment it needs, once: `make demo` and `make test` are all a fresh machine takes.
PYTHON ?= python3
TASK ?= detection
MINUTES ?= 20
# Which packages carry mmcv, mmengine, mmdet and mmseg: openmmlab, or onedl, the maintained forks.
STACK ?= openmmlab

VENV := $(if $(filter openmmlab,$(STACK)),.venv,.venv-$(STACK))
BIN := $(VENV)/bin
BENCH := .venv-bench
# Stand for finished set-ups; anything that changes what is installed makes them stale.
READY := $(VENV)/.ready
BENCH_READY := $(BENCH)/.ready
SETUP := $(wildcard requirements/*) pyproject.toml setup.py mmconvnext.pth

.PHONY: help demo road test quick fuzz lint coverage bench parity api docs-check format clean

help:
	@echo "make demo [TASK=detection|segmentation]   train and test on made-up pictures, some minutes on a laptop"
	@echo "make road                                 train a small network at every stop between ResNet and ConvNeXt"
	@echo "make test [STACK=onedl]                   run the tests, on the forks of OpenMMLab's packages with STACK=onedl"
	@echo "make quick                                run all but the slow ones"
	@echo "make fuzz [MINUTES=20] [SEED=number]      run the fuzz tests on ever new examples; SEED: one round again"
	@echo "make lint                                 ruff, mypy and hadolint"
	@echo "make coverage                             try every config of mmdet and mmseg, docs/coverage.md (long)"
	@echo "make bench [AUTHORS=/path/to/ConvNeXt]    measure time and memory beside the peers, docs/performance.md"
	@echo "                                          (long; leave the machine alone; AUTHORS: a checkout of their code)"
	@echo "make parity                               train beside stock mmdet and mmseg, compare the losses, docs/parity.md"
	@echo "                                          (long)"
	@echo "make api                                  write docs/api.md from the docstrings"
	@echo "make docs-check                           run the commands of the pages in docs/, compare their output (long)"
	@echo "make format                               let ruff rewrite the code"
	@echo "PYTHON=/path/to/python                    the interpreter to set up with (3.10 or newer)"

$(READY): $(SETUP)
	@./requirements/make_env.sh $(PYTHON) $(VENV) $(STACK).txt test.txt lint.txt
	@touch $@

# Apart from .venv: mmpretrain does not start beside transformers.
$(BENCH_READY): $(SETUP)
	@./requirements/make_env.sh $(PYTHON) $(BENCH) openmmlab.txt bench.txt
	@touch $@

demo: $(READY)
	@$(BIN)/mmconvnext demo --task $(TASK)

road: $(READY)
	@$(BIN)/mmconvnext road --demo --jobs 2

test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

quick: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

# In rounds, each from a seed of its own, by which it is had again; none starts after MINUTES.
fuzz: $(READY)
	@end=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
	    seed=$${SEED:-$$($(BIN)/python -c 'import secrets; print(secrets.randbits(32))')}; \
	    echo "fuzz: a round from SEED=$$seed"; \
	    MMCONVNEXT_FUZZ=long OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz --numprocesses 2 \
	        --hypothesis-seed $$seed || exit 1; \
	    [ -z "$${SEED}" ] || exit 0; \
	done

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint docker/Dockerfile

# Goes on where an earlier walk of the same day was stopped.
coverage: $(READY)
	@touch .coverage.$$(date +%F).json
	@$(BIN)/mmconvnext coverage --jobs 2 --json .coverage.$$(date +%F).json --resume

bench: $(BENCH_READY)
	@$(BENCH)/bin/mmconvnext benchmark --json docs/performance.json --page docs/performance.md $(if $(AUTHORS),--authors "$(AUTHORS)")

parity: $(BENCH_READY)
	@$(BENCH)/bin/mmconvnext parity --page docs/parity.md

api: $(READY)
	@$(BIN)/python docs/make_api.py

docs-check: $(READY)
	@$(BIN)/python docs/make_api.py --check
	@OMP_NUM_THREADS=1 $(BIN)/python docs/check_pages.py

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-onedl .venv-bench build dist *.egg-info work_dirs .pytest_cache .mypy_cache .ruff_cache .hypothesis
