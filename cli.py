"""The door: parses, calls, prints. Results go to stdout, everything else to stderr.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from toymodels.sweeps.execution.run import Outcome
    from toymodels.sweeps.plan.plan import Plan
    from toymodels.sweeps.results.reading import Run
    from toymodels.sweeps.spec.sweep import Sweep
    from toymodels.sweeps.store.locks import Shard


STOPS = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM, as an exception, so that everything in progress cleans up after itself."""


class Door(TyperGroup):
    """Turns every failure into one sentence and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        from toymodels.sweeps.errors import SweepError

        if sys.platform == "win32":
            fail("this platform is not supported: toymodels runs on Linux and macOS", 1)

        def clean_up(number: int, _frame: FrameType | None) -> None:
            for each in handled:
                signal.signal(each, leave)
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

        def leave(number: int, _frame: FrameType | None) -> None:
            os._exit(128 + number)  # asked twice: now, without cleaning up; every file is whole or absent all the same

        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by whoever began us: nobody reads
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that knows no ± still gets its table
        # What a shell has its background jobs ignore stays ignored.
        # Outside the main thread no signal arrives, and none may be handled.
        main = threading.current_thread() is threading.main_thread()
        handled = [each for each in STOPS if main and signal.getsignal(each) is not signal.SIG_IGN]
        before = {each: signal.signal(each, clean_up) for each in handled}
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # Whoever read us has had enough; what was to be done is done.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except SweepError as error:
            fail(str(error), error.exit_code)
        except (KeyboardInterrupt, Terminated) as stop:
            code = 130 if isinstance(stop, KeyboardInterrupt) else 143
            again = "To continue" if ctx.invoked_subcommand == "sweep" else "To start over"
            fail(f"interrupted; what is finished is safe. {again}: {this_command()}", code)
        except MemoryError:
            fail("out of memory; what is finished is safe", 1)
        except OSError as error:
            # A disk, a name or rights of the user's that no command expects there.
            if os.environ.get("TOYMODELS_TRACEBACK"):
                raise
            fail(f"{error.filename or 'the output'}: {error.strerror or error}; what is finished is safe", 1)
        except Exception as error:
            # Typer carries its own click, so usage errors are known by what they can do.
            known = isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "format_message")
            if known or os.environ.get("TOYMODELS_TRACEBACK"):
                raise
            fail(
                f"unexpected {type(error).__name__}: {error}. This is a bug; set TOYMODELS_TRACEBACK=1 to see where", 1
            )
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def fail(sentence: str, code: int) -> NoReturn:
    """Say it on stderr and leave."""
    print(f"toymodels: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def say(sentence: str) -> None:
    """A note, on stderr."""
    print(sentence, file=sys.stderr)


def this_command() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(["toymodels", *sys.argv[1:]])


app = typer.Typer(
    cls=Door,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunFolder = Annotated[Path, typer.Argument(help="A run folder, such as runs/two_tiers.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def say_version(wanted: bool) -> None:
    """``--version``."""
    if wanted:
        from importlib.metadata import version

        print(f"toymodels {version('toymodels')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Superposition toy models: sparse features, squeezed through a bottleneck, trained thousands at once, measured
    against the truth.
    """


@app.command()
def sweep(
    name_or_file: Annotated[
        str, typer.Argument(help="A shipped sweep (see 'toymodels list'), or a file: a name with / or .toml.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/<name of the sweep>]", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Fix a setting and take it out of the grid. Repeatable."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=V1,V2", help="Replace or add a grid axis. Repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or one of several: cuda:1.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, fused (a cpu, fastest) or autograd (the reference).")] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Train every N-th pack from pack I on, beside other shards on the same folder."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Train on N worker processes of this machine; on CUDA one a GPU.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Train on the workers of a Dask scheduler, tcp://HOST:PORT.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add what the run folder has not got of this sweep, and keep what it has.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try packs again that failed twice and are left out.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would take, and train nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train and measure every model of a sweep. The same command continues it; a finished one returns at once."""
    from toymodels.sweeps.console.printing import print_estimate
    from toymodels.sweeps.console.progress import Progress
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.execution.estimate import estimate
    from toymodels.sweeps.execution.executor import choose_executor, prepare
    from toymodels.sweeps.execution.run import models_of, own_packs, resolve_device, resolve_engine, run
    from toymodels.sweeps.store.locks import Shard
    from toymodels.sweeps.store.store import Store, recorded_choice

    if extend and shard is not None:
        raise SpecError("--extend: needs the whole folder, not a shard of it: extend it first, then share it")
    chosen = read_sweep(name_or_file, set_ or [], grid or [])
    folder = out if out is not None else Path("runs") / chosen.stem
    own = Shard.parse(shard) if shard is not None else None
    recorded = recorded_choice(folder)
    device, plan = resolve_device(device, recorded, here=scheduler is None), Store(folder).plan_for(chosen, extend)
    engine = resolve_engine(engine, device, plan, recorded, say)
    if plan.repeated:
        say(
            f"{plan.repeated:,} models have no LayerNorm and differ from others only in its settings: they train "
            "alike; 'case' varies settings together"
        )
    for note in plan.notes:
        say(note)
    executor = choose_executor(engine, device, workers, scheduler, own)
    if dry_run:
        prepare(engine, say)
        print_estimate(chosen.stem, estimate(plan, engine, device), as_json)
        return
    models = models_of(own_packs(plan, own))
    which = f"{models:,} of {len(plan):,} models, shard {own}" if own else f"{models:,} models"
    print(f"{chosen.stem}: {which}, engine {engine}, {device}", file=sys.stderr)
    with Progress(models) as progress:
        outcome = run(
            plan, folder, engine, device, progress.advance, progress.note, progress.skip, own, retry_failed, executor
        )
    if own is not None:
        say_shard(own, plan, folder, outcome, as_json)
    else:
        say_sweep(chosen, plan, folder, outcome, as_json)


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="The figure (see 'toymodels list').")],
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write into.  [default: the run folder]", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a figure of a run, as SVG and PNG."""
    from toymodels import figures
    from toymodels.sweeps.results.reading import load

    say_paths(figures.draw(name, load(run), out if out is not None else run), as_json)


@app.command()
def show(run: RunFolder, as_json: Json = False) -> None:
    """Print the summary table of a run."""
    from toymodels.sweeps.console.printing import arm_json, print_summary
    from toymodels.sweeps.results.reading import load
    from toymodels.sweeps.results.summary import summarise

    loaded = load(run)
    arms = summarise(loaded)
    if as_json:
        document = {"folder": str(run), "question": loaded.question, "arms": [arm_json(arm) for arm in arms]}
        print(json.dumps(document, indent=2))
        return
    print_summary(loaded.question or run.name, arms)
    if loaded.missing:
        print(loaded.missing, file=sys.stderr)


@app.command()
def verdict(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder, such as runs/two_tiers.", show_default=False)
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Put the battery itself to the test, on models whose answer is known.")
    ] = False,
    dictionaries: Annotated[
        str, typer.Option(help="Train dictionaries for P9 in which regimes: none, primary or all.")
    ] = "none",
    as_json: Json = False,
) -> None:
    """Say of each prediction of the two-tier hypothesis whether a run supports it, and write verdicts.json."""
    from toymodels import figures
    from toymodels.sweeps.console.printing import print_verdict, print_verdict_legend
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.results.reading import load
    from toymodels.sweeps.verdict import document
    from toymodels.sweeps.verdict import judging as verdicts

    if controls == (run is not None):
        raise SpecError("verdict: expected a run folder, or --controls and none")
    if dictionaries not in verdicts.DICTIONARIES:
        raise SpecError(f"--dictionaries: expected {' or '.join(verdicts.DICTIONARIES)}, got '{dictionaries}'")
    if run is None:
        say_proofs(as_json)
        return
    loaded = load(run)
    judgement = verdicts.judge(loaded, dictionaries, say)
    path = document.write(loaded, judgement)
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
        return
    for sentence in judgement.notes:
        say(sentence)
    for of_regime in judgement.verdicts:
        print_verdict(of_regime)
    print_verdict_legend()
    drawn = [each for name in figures.OF_PREDICTIONS for each in draw_if_possible(name, loaded)]
    say_paths([path, *drawn], as_json)


@app.command()
def tables(run: RunFolder, as_json: Json = False) -> None:
    """Measure the packs of a run anew and rebuild its tables."""
    from toymodels.sweeps.execution.run import rebuild
    from toymodels.sweeps.store.store import Store

    store = Store.open_existing(run)
    store.lock()
    try:
        packs = rebuild(store, say)
    finally:
        store.release()
    planned = store.manifest()["packs"]
    if as_json:
        print(json.dumps({"folder": str(run), "packs": planned, "packs_done": packs}, indent=2))
    else:
        print(f"{run}: tables rebuilt from {packs} of {planned} packs")


@app.command()
def report(run: RunFolder, as_json: Json = False) -> None:
    """Write a run's table and figures into report.html."""
    from toymodels.figures.report import write_report
    from toymodels.sweeps.results.reading import load

    say_paths([write_report(load(run))], as_json)


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """List the shipped sweeps and the figures."""
    from toymodels import figures
    from toymodels.sweeps.spec.sweep import read, shipped

    found = {name: read(path) for name, path in shipped().items()}
    if as_json:
        rows = [{"name": name, "models": len(s), "question": s.question} for name, s in found.items()]
        print(json.dumps({"sweeps": rows, "figures": list(figures.NAMES)}, indent=2))
        return
    print("sweeps:")
    for name, each in found.items():
        print(f"  {name:14} {len(each):6,} models  {each.question}")
    print("figures:\n  " + "\n  ".join(figures.NAMES))


@app.command()
def status(run: RunFolder, as_json: Json = False) -> None:
    """Say how much of a run is finished, how fast, what failed, who is at work, and the next command."""
    from toymodels.sweeps.store.locks import Lock
    from toymodels.sweeps.store.store import Store

    store = Store.open_existing(run)
    manifest = store.manifest()
    done, failed, holders = store.packs_done(), store.failures(), Lock(run).holders()
    rate, finished = store.packs_a_minute(), done == manifest["packs"]
    folder = shlex.quote(str(run))
    following = f"toymodels show {folder}" if finished else f"toymodels sweep {folder}/sweep.toml --out {folder}"
    if as_json:
        said = {
            "folder": str(run),
            "packs_done": done,
            "packs_failed": failed,
            "packs_a_minute": rate,
            "in_use_by": holders,
            "next": following,
        }
        print(json.dumps(said | manifest, indent=2))
        return
    speed = f", {rate:,.1f} packs a minute" if rate else ""
    models = f"{manifest['models']:,} models, engine {manifest['engine']}, {manifest['device']}"
    print(f"{run}: {done:,} of {manifest['packs']:,} packs ({models}){speed}")
    for holder in holders:
        print(f"in use by {holder}")
    if failed:
        print(f"failed packs: {', '.join(map(str, failed))}; those that failed twice need --retry-failed")
    if not (finished or holders):
        print(f"To continue: {following}")


@app.command()
def doctor(
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Remove the compiled kernels of every version, and nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print versions, device, threads, memory, disk and optional parts."""
    from toymodels.kernels import compiled
    from toymodels.sweeps.console.doctor import examine

    if clear_cache:
        try:
            cleared = [str(folder) for folder in compiled.clear()]
        except OSError as error:
            fail(f"{error.filename}: the compiled kernels there cannot be removed: {error.strerror}", 1)
        print(json.dumps({"cleared": cleared}, indent=2) if as_json else "\n".join(cleared) or "nothing was kept")
        return
    facts = examine()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, fact in facts.items():
        print(f"{name:24} {fact}")


# -------------------------------------------------------------------------------------------------- reading and saying


def read_sweep(name_or_file: str, fixed: list[str], axes: list[str]) -> Sweep:
    """The sweep that the command line means."""
    from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
    from toymodels.sweeps.spec.sweep import find, read

    chosen = read(find(name_or_file))
    for text in axes:
        chosen = chosen.with_axis(*parse_axis(text))
    for text in fixed:
        chosen = chosen.with_setting(*parse_assignment(text, "--set"))
    return chosen


def say_sweep(chosen: Sweep, plan: Plan, folder: Path, outcome: Outcome, as_json: bool) -> None:
    """How a sweep ended: its summary, where things are, what comes next, and what diverged or failed."""
    from toymodels import figures
    from toymodels.sweeps.console.printing import arm_json, print_summary
    from toymodels.sweeps.results.reading import load
    from toymodels.sweeps.results.summary import summarise

    trained = load(folder)
    drawn = draw_if_possible(chosen.stem, trained) if chosen.stem in figures.OF_SWEEPS else []
    arms = summarise(trained) if len(outcome.failed) < len(plan.packs) else []
    all_diverged = outcome.diverged == outcome.models
    if as_json:
        document = {
            "folder": str(folder),
            "models": outcome.models,
            "trained": outcome.trained,
            "diverged": outcome.diverged,
            "failed": {str(pack): reason for pack, reason in outcome.failed.items()},
            "figures": [str(path) for path in drawn],
            "arms": [arm_json(arm) for arm in arms],
        }
        print(json.dumps(document, indent=2))
    else:
        print_summary(chosen.question or chosen.stem, arms)
        for path in [folder / f"{table}.parquet" for table in ("models", "features", "neurons", "curves")] + drawn:
            print(path)
        following = "verdict" if arms and not all_diverged and can_be_judged(trained) else "report"
        print(f"Next: toymodels {following} {shlex.quote(str(folder))}")
    if outcome.diverged:
        share = "every model" if all_diverged else f"{outcome.diverged} of {outcome.models} models"
        say(f"{share} diverged: their measures are empty (status = diverged in models.parquet)")
    if outcome.failed:
        fail(f"{len(outcome.failed)} of {len(plan.packs)} packs failed; the rest is finished in {folder}", 3)


def say_shard(shard: Shard, plan: Plan, folder: Path, outcome: Outcome, as_json: bool) -> None:
    """How a shard ended, and what is still to come."""
    if as_json:
        document = {
            "folder": str(folder),
            "shard": str(shard),
            "models": outcome.models,
            "trained": outcome.trained,
            "diverged": outcome.diverged,
            "packs": len(plan.packs),
            "packs_missing": outcome.missing,
            "failed": {str(pack): reason for pack, reason in outcome.failed.items()},
        }
        print(json.dumps(document, indent=2))
    elif outcome.missing:
        print(f"shard {shard} is finished; {outcome.missing} of {len(plan.packs)} packs are not there yet")
    else:
        print(f"shard {shard} is finished, and all {len(plan.packs)} packs are there")
        if not outcome.untabled:
            print(f"Next: toymodels show {shlex.quote(str(folder))}")
    if outcome.untabled:
        say(outcome.untabled)
    if outcome.failed:
        fail(f"{len(outcome.failed)} packs of shard {shard} failed; the rest is finished in {folder}", 3)


def can_be_judged(run: Run) -> bool:
    """Whether a run has SoLU with LayerNorm and a control, without which there is no verdict."""
    with_norm = run.models.loc[run.models["model.layer_norm"], "model.activation"].unique()
    return "solu" in with_norm and bool({"gelu", "relu", "linear"} & set(with_norm))


def draw_if_possible(name: str, run: Run) -> list[Path]:
    """The figure of this name, or a note that says why there is none."""
    from toymodels import figures
    from toymodels.sweeps.errors import SweepError

    try:
        return figures.draw(name, run, run.path)
    except SweepError as error:
        say(f"no figure: {error}")
        return []


def say_paths(paths: list[Path], as_json: bool) -> None:
    """What a command wrote."""
    if as_json:
        print(json.dumps({"files": [str(path) for path in paths]}, indent=2))
    else:
        for path in paths:
            print(path)


def say_proofs(as_json: bool) -> None:
    """The truth-versus-verdict table; exit 1 where the battery gets a row wrong."""
    from toymodels.hypotheses.proving import prove

    rows = []
    for proof in prove():
        truth = "two tiers" if proof.construction.two_tiers else "no"
        row = {
            "construction": proof.construction.name,
            "neurons": proof.hidden,
            "values": proof.values,
            "truth": truth,
            "verdict": proof.verdict.said,
            "right": proof.right,
            "predictions": {key: status.value for key, status in proof.verdict.predictions.items()},
        }
        rows.append(row)
        if not as_json:
            four = " ".join(f"{key} {row['predictions'][key]}" for key in ("P1", "P2", "P3", "P4"))
            mark = "right" if proof.right else "WRONG"
            line = f"{row['construction']:30}{proof.hidden:3} neurons  {proof.values:8} truth: {truth:10} verdict: "
            print(f"{line}{proof.verdict.said:13} {mark}  ({four})", flush=True)
    wrong = sum(not row["right"] for row in rows)
    if as_json:
        print(json.dumps({"controls": rows, "wrong": wrong}, indent=2))
    else:
        print(f"{len(rows) - wrong} of {len(rows)} right")
    if wrong:
        fail(f"the battery gets {wrong} of {len(rows)} controls wrong: its verdicts do not count", 1)


if __name__ == "__main__":
    app()
