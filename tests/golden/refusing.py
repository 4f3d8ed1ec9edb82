"""Commands that are refused: what each exits with, and the sentence it says."""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from typing import Any

from .door import door

TINY = """question = "tiny?"
[features]
n = 6
density = 0.3
[model]
hidden = 2
[train]
steps = 3
batch = 4
[eval]
samples = 16
[grid]
"model.activation" = ["relu", "solu"]
seed = { range = [0, 2] }
"""
FILES: dict[str, str | bytes] = {
    "tiny.toml": TINY,
    "binary.toml": b"\xff\xfe",
    "broken.toml": "[features\nn = 6\n",
    "python.toml": TINY.replace("n = 6", "n = 6\nsigned = True"),
    "key.toml": TINY.replace("n = 6", "n = 6\ndensty = 0.1"),
    "section.toml": TINY.replace("[train]", "[training]"),
    "grid.toml": "grid = 3\n" + TINY.partition("[grid]")[0],
    "unquoted.toml": TINY.replace('"model.activation"', "model.activation"),
    "axis.toml": TINY.replace("{ range = [0, 2] }", "{ rnge = [0, 2] }"),
    "log.toml": TINY + '"features.density" = { log = [0.0, 1.0, 3] }\n',
    "twice.toml": TINY + '"train.steps" = [3, 4, 3]\n',
    "case.toml": "case = 3\n" + TINY,
    "empty_case.toml": TINY + "[[case]]\n",
    "clash.toml": TINY + '[[case]]\n"seed" = 3\n',
    "inside.toml": TINY + '"features.frequency" = ["uniform"]\n"features.frequency.cap" = [0.5, 1.0]\n',
    "primary.toml": TINY + '[primary]\n"features.valus" = "binary"\n',
    "primary_number.toml": "primary = 3\n" + TINY,
    "question.toml": TINY.replace('"tiny?"', "3"),
    "alike.toml": TINY
    + '"features.firing" = [\n {kind = "together", sets = [[0, 1]]}, {kind = "together", sets = [[1, 0]]}]\n',
    "no_n.toml": TINY.replace("n = 6", ""),
    "no_density.toml": TINY.replace("density = 0.3", ""),
    "no_hidden.toml": TINY.replace("hidden = 2", ""),
    "empty.toml": "",
    "foreign/notes.txt": "mine\n",
    "newer/manifest.json": '{"schema": 99}',
    "damaged/manifest.json": '{"schema": 1}',
}
SETTINGS = {
    "seed": "-1 1.5 one 9223372036854775808",
    "features.n": "0 6.0 true 1000001",
    "features.density": "0 1.5 nan many",
    "features.frequency": 'zipff zipf {law="zipf",exponent=-1} '
    '{law="list",values=[1,2]} {law="list",values=[1,1,1,1,1,0]} '
    '{law="geometric",ratio=0.0} {law="zipf",exponent=1.0,ratio=0.5}',
    "features.frequency.law": "geometrc",
    "features.frequency.exponent": "1.0",
    "features.frequency.cap": "0 0.2 high",
    "features.importance": 'listed {law="geometric"} {law="list",values=[1,2,3,4,5,-6]}',
    "features.importance.shuffle": "1",
    "features.importance.shuffle_seed": "-1",
    "features.importance.ratio": "2.0",
    "features.importance.shufle": "true",
    "features.values": "unifrom 3",
    "features.signed": "0",
    "features.firing": 'correlate correlated one {kind="correlated",groups=4} {kind="anticorrelated",groups=1} '
    '{kind="together",sets=[[0,6]]} {kind="together",sets=[[0]]} {kind="together",sets=[[0,1],[1,2]]} '
    '{kind="one",group=2}',
    "features.firing.groups": "2",
    "features.firing.sets": "[[0,1]]",
    "model.hidden": "0 2.5 100001",
    "model.activation": "solo 3",
    "model.output": "linaer sigmoid",
    "model.layer_norm": "yes",
    "model.layer_norm_eps": "-1.0 match",
    "model.layer_norm_affine": "2",
    "model.output_bias": "none",
    "model.tied": "0",
    "model.hidden_bias": "1",
    "model.init_scale": "0 wide",
    "model.hidden_bias_start": "-0.5 low",
    "model.embedding": "4 0 two true [3] {trained=true} {size=3,trained=1} {sise=3}",
    "model.embedding.trained": "true",
    "model.embedding.size": "3",
    "task.target": 'identiy absolute and {kind="and",pairs=3} {kind="and",pairs=0} {kind="identity",pairs=3} '
    '{kind="and",pairs=6,pears=2}',
    "task.target.pairs": "3",
    "task.loss": "l2 4 softmax cross_entropy",
    "train.steps": "0 1e3 1000000001",
    "train.batch": "0 many 10000001",
    "train.optimizer": "adamw 3",
    "train.learning_rate": "-1 inf fast",
    "train.schedule": "cosin",
    "train.weight_decay": "-0.1 some",
    "train.curve_points": "0 1.5",
    "train.snapshots": "-1 few",
    "train.hidden_bias_decay": "-1 0.1",
    "eval.samples": "0 1e4 1000000001",
    "lr": "0.1",
    "d_hidden": "4",
    "feature_probability": "0.1",
    "n_instances": "3",
    "epochs": "2",
    "betas": "0.9",
    "sparsity": "0.9",
    "train.hidden": "3",
    "n_correlated_pairs": "2",
    "model.activaton": "relu",
    "modle.hidden": "3",
    "features": "3",
    "question": "why",
    "zzzzzzzz": "1",
}
"""What ``--set`` refuses: values by setting, and names that no setting has."""
NO_ASSIGNMENTS = ("nonsense", "=3", "seed=")
GRIDS = (
    "model.width=1,2",
    "model.depth=1,2",
    "seed=",
    "seed=[]",
    "seed=1,2,1",
    "seed={ range = [3, 3] }",
    "seed={ range = [0, 1000000000] }",
    "features.density={ log = [0.1, 0.1, 3] }",
    "features.density={ linear = [0.1, 0.5] }",
    "features.density=0.1,2.0",
    "train.lr=0.1,0.2",
)
"""What ``--grid`` refuses."""
TOGETHER = (
    "model.tied=false model.embedding=7",
    'model.tied=false task.target={kind="and",pairs=16}',
    'model.tied=false features.n=1 task.target={kind="and",pairs=1}',
    'model.tied=false features.firing=one features.density=0.16666666 task.target={kind="and",pairs=3}',
    "features.values=binary task.loss=cross_entropy",
    "features.values=binary features.signed=true model.output=linear task.loss=cross_entropy",
)
"""What is refused of several ``--set``."""
OTHERS: tuple[tuple[str, ...], ...] = (
    *(("sweep", name) for name in FILES if name.endswith(".toml") and name != "tiny.toml"),
    ("sweep", "nothing.toml"),
    ("sweep", "./nothing"),
    ("sweep", "./"),
    ("sweep", "two_tier"),
    ("sweep", "zzzzzzzz"),
    ("sweep", "tiny.toml", "--set", "features.values=binary", "--set", "features.density=1.0"),
    *(("sweep", "tiny.toml", *(each for text in texts.split() for each in ("--set", text))) for texts in TOGETHER),
    ("sweep", "tiny.toml", "--shard", "2/2"),
    ("sweep", "tiny.toml", "--shard", "one"),
    ("sweep", "tiny.toml", "--shard", "0/0"),
    ("sweep", "tiny.toml", "--shard", "0/2", "--extend"),
    ("sweep", "tiny.toml", "--shard", "0/2", "--workers", "2"),
    ("sweep", "tiny.toml", "--workers", "0"),
    ("sweep", "tiny.toml", "--workers", "2", "--scheduler", "tcp://x:1"),
    ("sweep", "tiny.toml", "--device", "tpu"),
    ("sweep", "tiny.toml", "--device", "cpu:0"),
    ("sweep", "tiny.toml", "--device", "cuda:x"),
    ("sweep", "tiny.toml", "--engine", "jax"),
    ("sweep", "tiny.toml", "--engine", "fused", "--set", "model.output=gelu"),
    ("sweep", "tiny.toml", "--engine", "fused", "--set", "task.loss=l4"),
    ("sweep", "tiny.toml", "--out", "run", "--engine", "autograd"),
    ("sweep", "tiny.toml", "--out", "run", "--set", "train.steps=4"),
    ("sweep", "tiny.toml", "--out", "run", "--grid", "seed=0,1,2"),
    ("sweep", "tiny.toml", "--out", "run", "--set", "seed=0", "--extend"),
    ("sweep", "tiny.toml", "--out", "foreign"),
    ("sweep", "tiny.toml", "--out", "newer"),
    ("sweep", "tiny.toml", "--out", "damaged"),
    ("sweep", "tiny.toml", "--out", "tiny.toml"),
    ("sweep", "tiny.toml", "--out", "tiny.toml/below"),
    ("sweep", "tiny.toml", "--nonsense"),
    ("sweep",),
    ("swep",),
    ("show", "nothing"),
    ("show", "foreign"),
    ("show", "newer"),
    ("show", "damaged"),
    ("show", "tiny.toml"),
    ("show", "a", "b"),
    ("status", "nothing"),
    ("status", "foreign"),
    ("tables", "nothing"),
    ("tables", "foreign"),
    ("report", "nothing"),
    ("figure", "two_tiers"),
    ("figure", "two_tier", "run"),
    ("figure", "two_tiers", "nothing"),
    ("figure", "tms_phase", "run"),
    ("figure", "two_tiers", "run", "--out", "tiny.toml"),
    ("verdict",),
    ("verdict", "nothing"),
    ("verdict", "run"),
    ("verdict", "run", "--controls"),
    ("verdict", "run", "--dictionaries", "some"),
)
ASSIGNMENTS = [f"{name}={value}" for name, values in SETTINGS.items() for value in values.split()] + [*NO_ASSIGNMENTS]
REFUSED: dict[str, tuple[str, ...]] = {
    **{f"--set {text}": ("sweep", "tiny.toml", "--dry-run", "--set", text) for text in ASSIGNMENTS},
    **{f"--grid {text}": ("sweep", "tiny.toml", "--dry-run", "--grid", text) for text in GRIDS},
    **{" ".join(command): command for command in OTHERS},
}
SPACES = re.compile(r"[\s│╭╮╰╯─]+")


def prepare(folder: Path) -> None:
    """Put the files that are refused into ``folder``, and a finished run beside them."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with chdir(folder):
        assert door("sweep", "tiny.toml", "--out", "run", "--engine", "fused").code == 0


def refuse(name: str, folder: Path) -> dict[str, Any]:
    """What the command of this name exits with and says, in a prepared ``folder``."""
    with chdir(folder):
        answer = door(*REFUSED[name])
    assert answer.out == "", f"{name}: {answer.out}"
    return {"code": answer.code, "said": [SPACES.sub(" ", line).strip() for line in answer.err.splitlines()]}


def refuse_all(folder: Path) -> dict[str, Any]:
    """Every command of `REFUSED` with what became of it."""
    prepare(folder)
    return {name: refuse(name, folder) for name in REFUSED}
