#!/bin/sh
# Install a wheel in a fresh environment and run a shipped sweep, a figure and the Python API from another folder.
set -eu
wheel=$(realpath "$1")
constraints=$(realpath constraints.txt)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q -c "$constraints" "$wheel"
env/bin/toymodels list
env/bin/toymodels sweep tms_intro --set train.steps=50 --set train.batch=64 --set eval.samples=512 --grid seed=0,1
env/bin/toymodels sweep two_tiers --no-tune --set train.steps=20 --set eval.samples=512 --set seed=0 \
    --set features.density=0.1 --set features.frequency=uniform
env/bin/toymodels figure two_tiers runs/two_tiers
env/bin/toymodels report runs/two_tiers
env/bin/python -c "import toymodels; print(toymodels.load('runs/tms_intro').model(3).parameters.W_in.shape)"
ls runs/tms_intro/tms_intro.svg runs/two_tiers/two_tiers.png runs/two_tiers/report.html
echo "wheel: installed and run from $folder"
