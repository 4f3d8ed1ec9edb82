# Everything goes through one environment, .venv, made from constraints.txt by the targets that need it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PYTHONUNBUFFERED = 1

# The main job at reduced size: one regime, the learning rate alone tuned, four seeds; every activation and LayerNorm.
DEMO := solu_neurons --out runs/demo --set features.n=64 --set features.density=0.04 --set model.embedding=16 \
        --set features.frequency=uniform --set model.init_scale=2 \
        --set train.steps=3000 --grid 'seed={range = [0, 4]}'

.PHONY: demo test faults slow lint types wheel lowest saelens transformers docs bench device device-parity device-learning device-scale device-shares device-tune clean

demo: $(VENV)/installed
	$(BIN)/toymodels sweep $(DEMO)

test: $(VENV)/installed-test
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow and not cuda and not kill and not dask"

# Faults injected for real: processes killed at random moments, workers killed, stopped and out of date.
faults: $(VENV)/installed-test
	$(BIN)/pytest -q -m "(kill or dask) and not slow"

slow: $(VENV)/installed-test
	$(BIN)/pytest -q -m "slow and not cuda"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/basedpyright

# The sdist and the wheel built from it; once more, the wheel from the tree: they must be the same bytes. Then the wheel is
# installed in a fresh environment and run from another folder.
wheel: $(VENV)/installed-dev
	rm -rf build dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m build --no-isolation --sdist --outdir dist/again
	$(BIN)/python -m build --no-isolation --wheel --outdir dist/again
	for each in dist/toymodels-*; do cmp $$each dist/again/$${each##*/} || exit 1; done
	sh tests/wheel.sh dist/*.whl

# The lowest version of everything that pyproject.toml allows, in a fresh environment. PyTorch's old wheels on PyPI are
# CUDA builds of several GB that want an older Triton, so give pip PyTorch's CPU index; CI does not run this. Other versions
# of matplotlib draw letters with other pixels.
LOWEST := .venv-lowest
lowest:
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -c constraints-lowest.txt -e '.[test]'
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider -m "not slow and not cuda and not kill and not dask" \
	    --ignore tests/figures/test_golden_images.py \
	    tests/test_random.py tests/test_activations.py tests/test_bottleneck.py tests/test_features.py tests/test_cli.py \
	    tests/engines tests/figures tests/sweeps/store tests/sweeps/results tests/sweeps/execution

# SAELens as oracle and as user, in an environment of its own: what it saves is read here and what is written here it loads,
# its scores are ours, and the page on dictionaries works. Nothing is downloaded but the wheels.
SAELENS := .venv-saelens
saelens: $(SAELENS)/installed
	HF_HUB_OFFLINE=1 $(SAELENS)/bin/python -m pytest -q -p no:cacheprovider tests/saelens

$(SAELENS)/installed: pyproject.toml constraints.txt constraints-saelens.txt
	$(PYTHON) -m venv $(SAELENS)
	$(SAELENS)/bin/python -m pip install -q -c constraints.txt -c constraints-saelens.txt -e . pytest hypothesis sae-lens
	touch $@

# Real transformers, in an environment of their own: TransformerLens trains small ones offline, and they are measured.
TRANSFORMERS := .venv-transformers
transformers: $(TRANSFORMERS)/installed
	HF_HUB_OFFLINE=1 $(TRANSFORMERS)/bin/python -m pytest -q -p no:cacheprovider tests/real_transformers

$(TRANSFORMERS)/installed: pyproject.toml constraints.txt constraints-transformers.txt
	$(PYTHON) -m venv $(TRANSFORMERS)
	$(TRANSFORMERS)/bin/python -m pip install -q -c constraints.txt -c constraints-transformers.txt \
	    -e '.[transformers]' pytest hypothesis
	touch $@

# The documentation site, in build/docs. It runs the notebooks; a warning or a cell that fails is an error.
docs: $(VENV)/installed-test
	rm -rf build/docs build/jupyter_execute
	$(BIN)/python -m sphinx -q -b html -d build/doctrees -E -W --keep-going docs build/docs

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.stages
	$(BIN)/python -m benchmarks.layout
	$(BIN)/python -m benchmarks.verdict
	$(BIN)/python -m benchmarks.sizes
	$(BIN)/python -m benchmarks.functional_null
	$(BIN)/python -m benchmarks.dictionaries
	$(BIN)/python -m benchmarks.estimates

# On a machine with CUDA and a Python that has torch and pytest: nothing is installed, only `toymodels` is imported. Each
# part is meant to take less than ten minutes, so that one can be run by itself where a machine is lent for no longer.
DEVICE := parity learning W1,W2,W3,W4,W5 W6,W7 W8,W9,W10 scale shares tune
device: $(addprefix device-,$(DEVICE))

device-parity:
	$(PYTHON) -m pytest -q -p no:cacheprovider --noconftest -m cuda tests/engines/test_device.py tests/engines/gpu \
	    tests/hypotheses/test_device.py tests/benchmarks/test_device.py tests/benchmarks/test_tuning.py

device-learning device-scale: device-%:
	$(PYTHON) -m benchmarks.device --minutes 8 --parts $*

# What measuring takes beside training.
device-shares:
	$(PYTHON) -m benchmarks.shares --minutes 8

# Which tile, warps and models a launch are best, of those that the gpu engine could take.
device-tune:
	$(PYTHON) -m benchmarks.tuning --minutes 8

device-W%:
	$(PYTHON) -m benchmarks.device --minutes 8 --parts peers --only W$*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(SAELENS) $(TRANSFORMERS) build dist *.egg-info
