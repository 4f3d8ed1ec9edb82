"""Options: what the commands of `toymodels.cli` may be told, each with the help that it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def say_version(wanted: bool) -> None:
    """Print the version and leave, for ``--version``."""
    if wanted:
        from importlib.metadata import version

        print(f"toymodels {version('toymodels')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=say_version, is_eager=True, help="Print the version and exit.")
]
OneRun = Annotated[Path, typer.Argument(help="A run folder, such as runs/two_tiers.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

# ---------------------------------------------------------------------------------------------------------------- sweep

NameOrFile = Annotated[
    str, typer.Argument(help="A shipped sweep (see 'toymodels list'), or a file: a name with / or .toml.")
]
RunOut = Annotated[
    Path | None, typer.Option(help="The run folder.  [default: runs/<name of the sweep>]", show_default=False)
]
Fixed = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Fix a setting and take it out of the grid. Repeatable."),
]
Axes = Annotated[
    list[str] | None,
    typer.Option("--grid", metavar="KEY=V1,V2", help="Replace or add a grid axis. Repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or one of several: cuda:1.")]
EngineName = Annotated[
    str,
    typer.Option(
        help="auto, fused (a cpu, fastest), autograd (anywhere, the reference), gpu (an NVIDIA GPU) or, to be "
        "measured, gpu_tf32 (gpu, rounded products) or gpu_split (gpu, shared batches)."
    ),
]
ShardText = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Train every N-th pack from pack I on, beside other shards on the same folder."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Train on N worker processes of this machine; on CUDA one a GPU.")
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Train on the workers of a Dask scheduler, tcp://HOST:PORT.")
]
Extend = Annotated[
    bool, typer.Option("--extend", help="Add what the run folder has not got of this sweep, and keep what it has.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try packs again that failed twice and are left out.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Import the code of your own that the sweep names (module:Name).")
]
NoTune = Annotated[bool, typer.Option("--no-tune", help="Run the file as if it had no [tune] section.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would take, and train nothing.")]

# --------------------------------------------------------------------------------------------- figure, answer, inspect

NameAndRun = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME] RUN", help="The figure (see 'toymodels list'), and a run folder.", show_default=False
    ),
]
EveryFigure = Annotated[bool, typer.Option("--all", help="Every figure that the run can have; no NAME then.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="svg, pdf or png alone.  [default: svg and png]")
]
Dark = Annotated[bool, typer.Option("--dark", help="For a dark page, into NAME.dark.svg.")]
FigureOut = Annotated[
    Path | None, typer.Option(help="The folder to write into.  [default: the run folder]", show_default=False)
]
StudyName = Annotated[str, typer.Argument(help="The question: a study (see 'toymodels list').")]
ArmNames = Annotated[
    str | None,
    typer.Option("--arms", metavar="ARM,ARM", help="Which hidden layers.  [default: gelu, gelu + LN, solu + LN]"),
]
NeuronsAnArm = Annotated[
    int | None, typer.Option("--neurons", metavar="N", min=1, help="How many neurons of each arm.  [default: 60]")
]
JudgeName = Annotated[str, typer.Option("--judge", metavar="NAME", help="Who judges: each name has its own verdicts.")]
DrawnBy = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Of the draw: judges of one seed see the same neurons."),
]

# ---------------------------------------------------------------------------------------------------------------- score

RunOrHost = Annotated[
    str,
    typer.Argument(
        help="A run folder, a frozen host such as gelu_tree (see 'toymodels list'), or the file of a host.",
        show_default=False,
    ),
]
ModelOrNone = Annotated[
    int | None,
    typer.Argument(help="The model's number; without it every model that has a dictionary.", show_default=False),
]
DictionaryPath = Annotated[
    Path,
    typer.Option(
        "--dictionary",
        help="In SAELens' layout: a file, the folder that it saves, or one with MODEL/ or MODEL.safetensors each.",
    ),
]
Tap = Annotated[str, typer.Option(help="Where its activations are: pre, mid or post.")]
Samples = Annotated[
    int, typer.Option(metavar="N", min=2, max=10_000_000, help="How many fresh samples it is scored on.")
]

# -------------------------------------------------------------------------------------------------------------- verdict

RunOrNone = Annotated[Path | None, typer.Argument(help="A run folder, such as runs/two_tiers.", show_default=False)]
Controls = Annotated[
    bool, typer.Option("--controls", help="Put the battery itself to the test, on models whose answer is known.")
]
Dictionaries = Annotated[str, typer.Option(help="Train dictionaries for P9 in which regimes: none, primary or all.")]
Untuned = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="The same sweep without its [tune], judged before: show its arms beside."),
]
NullSeed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the rotations that alignment is compared with.")]
Short = Annotated[bool, typer.Option("--short", help="With --controls: fewer of them, in under a minute.")]
ProofsOut = Annotated[Path | None, typer.Option(help="With --controls: where power.json and its figure go.")]

# ------------------------------------------------------------------------------------------------- measure-transformer

Transformers = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of transformers (docs/TRANSFORMERS.md), each of a seed of its own.", show_default=False
    ),
]
TransformerFeatures = Annotated[
    str,
    typer.Option(
        "--features", metavar="KIND", help="tokens, bigrams, latents, or a file of directions, X.safetensors."
    ),
]
TransformerLayer = Annotated[int, typer.Option("--layer", metavar="N", min=0, help="Which MLP layer.")]
TransformerText = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="What they read: a tensor 'tokens' [sequence, position].  [default: the language each was trained on]",
        show_default=False,
    ),
]
MostFrequent = Annotated[
    int, typer.Option("--most", metavar="N", min=1, help="How many tokens or bigrams, the most frequent ones.")
]

# ---------------------------------------------------------------------------------------------------------------- watch

EverySeconds = Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.1, help="Between two looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once, and say how the run stands now.")]

# --------------------------------------------------------------------------------------------------------------- doctor

ClearCache = Annotated[
    bool, typer.Option("--clear-cache", help="Remove the compiled kernels of every version, and nothing else.")
]
