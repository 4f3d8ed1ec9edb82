"""The door: one short function a command, which parses, calls and prints.

Results go to stdout, everything else to stderr. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from pathlib import Path

import typer

from toymodels.sweeps.console import options
from toymodels.sweeps.console.door import Door, say

app = typer.Typer(
    cls=Door,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main(_version: options.Version = False) -> None:
    """Superposition toy models: sparse features, squeezed through a bottleneck, trained thousands at once, measured
    against the truth.
    """


@app.command()
def sweep(
    name_or_file: options.NameOrFile,
    out: options.RunOut = None,
    set_: options.Fixed = None,
    grid: options.Axes = None,
    device: options.Device = "auto",
    engine: options.EngineName = "auto",
    shard: options.ShardText = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    extend: options.Extend = False,
    retry_failed: options.RetryFailed = False,
    no_tune: options.NoTune = False,
    allow_code: options.AllowCode = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train and measure every model of a sweep. The same command continues it; a finished one returns at once."""
    from toymodels import figures
    from toymodels.sweeps.console import ending, parts, printing, request
    from toymodels.sweeps.console.audience import Standard
    from toymodels.sweeps.execution.estimate import estimate
    from toymodels.sweeps.execution.reporter import Reporter
    from toymodels.sweeps.results.reading import Run

    reporter = Reporter(note=say)
    asked = request.resolve(
        request.sweep_named(name_or_file, fixed=set_ or [], axes=grid or [], tune=not no_tune, allow_code=allow_code),
        out=out,
        device=device,
        engine=engine,
        shard=shard,
        workers=workers,
        scheduler=scheduler,
        extend=extend,
        reporter=reporter,
    )
    if dry_run:
        parts_asked = [part for part in (asked, asked.tuning) if part is not None]
        of_parts = [estimate(part.plan, part.engine, part.device, reporter) for part in parts_asked]
        printing.print_estimate(asked.sweep.stem, as_json, *of_parts)
        return
    done = parts.carry_out(asked, retry_failed, Standard())
    asked, outcome = done.request, done.outcome
    if asked.shard is not None:
        ending.say_shard(asked, outcome, as_json)
        return
    trained, name = Run(asked.folder, code=asked.sweep.code if allow_code else None), asked.sweep.stem
    drawn = figures.draw_if_possible(name, trained, say) if name in figures.OF_SWEEPS else []
    ending.say_sweep(asked, outcome, trained, drawn, as_json)


@app.command()
def figure(
    name_and_run: options.NameAndRun,
    every: options.EveryFigure = False,
    format_: options.Format = None,
    out: options.FigureOut = None,
    dark: options.Dark = False,
    allow_code: options.AllowCode = False,
    as_json: options.Json = False,
) -> None:
    """Draw a figure of a run, as SVG and PNG, or with --all every figure that it can have."""
    from toymodels import figures
    from toymodels.sweeps.console.drawing import figure_asked
    from toymodels.sweeps.console.listing import print_files
    from toymodels.sweeps.results.reading import load

    name, run = figure_asked(name_and_run, every)
    formats = figures.check_formats(figures.AS_USUAL if format_ is None else (format_,))
    loaded, folder = load(run, allow_code=allow_code), run if out is None else out
    if name is None:
        drawn = figures.draw_all(loaded, folder, say, formats=formats, dark=dark)
    else:
        drawn = figures.draw(name, loaded, folder, formats=formats, dark=dark)
    print_files(drawn, as_json)


@app.command()
def show(run: options.OneRun, as_json: options.Json = False) -> None:
    """Print the summary table of a run."""
    from toymodels.sweeps.console.printing import say_summary
    from toymodels.sweeps.results.reading import load

    say_summary(load(run), run, as_json)


@app.command()
def verdict(
    run: options.RunOrNone = None,
    controls: options.Controls = False,
    dictionaries: options.Dictionaries = "none",
    untuned: options.Untuned = None,
    null_seed: options.NullSeed = 0,
    short: options.Short = False,
    out: options.ProofsOut = None,
    allow_code: options.AllowCode = False,
    as_json: options.Json = False,
) -> None:
    """Say whether SoLU + LN has two tiers of features, and what decided, and write verdicts.json."""
    from toymodels import figures
    from toymodels.sweeps.console import documents, listing, proofs, verdicts
    from toymodels.sweeps.results.reading import load
    from toymodels.sweeps.verdict import document, judging

    verdicts.check_options(run, controls, dictionaries, untuned, short=short, out=out, as_json=as_json)
    if run is None:
        proved = proofs.say_proofs(as_json, short=short, out=out)
        drawn = [] if out is None else figures.draw_power(documents.of_power(proved.power), out)
        proved.leave([] if as_json else drawn)
        return
    loaded = load(run, allow_code=allow_code)
    beside = None if untuned is None else judging.untuned_beside(loaded, load(untuned))
    judgement = judging.judge(loaded, dictionaries, say, null_seed=null_seed, processes=None)
    path = document.write(loaded, judgement)
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
        return
    verdicts.print_judgement(judgement)
    if beside is not None:
        verdicts.print_untuned(beside)
    drawn = [each for name in figures.OF_PREDICTIONS for each in figures.draw_if_possible(name, loaded, say)]
    listing.print_files([path, *drawn], as_json)


@app.command()
def answer(
    name: options.StudyName,
    run: options.OneRun,
    allow_code: options.AllowCode = False,
    as_json: options.Json = False,
) -> None:
    """Say what a run answers to a question, with intervals over seeds, draw it, and write <study>.json."""
    from toymodels import figures
    from toymodels.sweeps import studies
    from toymodels.sweeps.console import listing, replies
    from toymodels.sweeps.results.reading import load
    from toymodels.sweeps.studies import document

    loaded = load(run, allow_code=allow_code)
    reply = studies.answer(name, loaded, say)
    path = document.write(loaded, name, reply)
    drawn = figures.draw_if_possible(name, loaded, say) if name in figures.OF_STUDIES else []
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
        return
    replies.print_reply(reply)
    listing.print_files([path, *drawn], as_json)


@app.command()
def inspect(
    run: options.OneRun,
    arms: options.ArmNames = None,
    neurons: options.NeuronsAnArm = None,
    judge: options.JudgeName = "person",
    seed: options.DrawnBy = None,
    allow_code: options.AllowCode = False,
    as_json: options.Json = False,
) -> None:
    """Judge neurons by their strongest examples, a key each, not knowing their arms, which are told at the end."""
    from toymodels.sweeps.console import inspecting
    from toymodels.sweeps.results.reading import load

    inspecting.inspect(load(run, allow_code=allow_code), judge, arms, neurons, seed, as_json=as_json)


@app.command()
def score(
    run: options.RunOrHost,
    dictionary: options.DictionaryPath,
    model: options.ModelOrNone = None,
    tap: options.Tap = "post",
    samples: options.Samples = 20_000,
    allow_code: options.AllowCode = False,
    as_json: options.Json = False,
) -> None:
    """Score a sparse dictionary that another program made against the features that a model is known to have."""
    from toymodels.sweeps.console import scores
    from toymodels.sweeps.results.hosting import run_or_host

    of = run_or_host(run, allow_code=allow_code)
    scores.say_scores(of, Path(run), dictionary, model, tap, samples, as_json=as_json)


@app.command()
def measure_transformer(
    models: options.Transformers,
    features: options.TransformerFeatures = "tokens",
    layer: options.TransformerLayer = 0,
    tokens: options.TransformerText = None,
    most: options.MostFrequent = 64,
    as_json: options.Json = False,
) -> None:
    """Put an MLP layer of transformers to the battery, with intervals over seeds (needs TransformerLens)."""
    from toymodels.sweeps.console import transformers

    transformers.measure_transformers(models, layer=layer, features=features, tokens=tokens, most=most, as_json=as_json)


@app.command()
def tables(run: options.OneRun, allow_code: options.AllowCode = False, as_json: options.Json = False) -> None:
    """Measure the packs of a run anew and rebuild its tables."""
    from toymodels.sweeps.console import rebuilding

    rebuilding.say_rebuilt(run, allow_code=allow_code, as_json=as_json)


@app.command()
def report(run: options.OneRun, as_json: options.Json = False) -> None:
    """Write report.html: answers, figures, provenance and an explorer of the models, on one page."""
    from toymodels.figures.report import write_report
    from toymodels.sweeps.console.listing import print_files
    from toymodels.sweeps.results.reading import load

    print_files([write_report(load(run))], as_json)


@app.command(name="list")
def list_(as_json: options.Json = False) -> None:
    """List the shipped sweeps, the frozen hosts, the studies that a run may be put to, and the figures."""
    from toymodels import figures
    from toymodels.sweeps import studies
    from toymodels.sweeps.console import listing
    from toymodels.sweeps.spec.frozen import frozen
    from toymodels.sweeps.spec.shipped import listed

    listing.print_shipped(listed(), [*frozen()], studies.NAMES, figures.NAMES, as_json)


@app.command()
def status(run: options.OneRun, as_json: options.Json = False) -> None:
    """Say how much of a run is finished, how fast, what failed, who is at work, and the next command."""
    from toymodels.sweeps.console.printing import say_standing
    from toymodels.sweeps.console.standing import Standing

    say_standing(Standing.of(run), as_json)


@app.command()
def watch(
    run: options.OneRun,
    every: options.EverySeconds = 2.0,
    once: options.Once = False,
    as_json: options.Json = False,
) -> None:
    """Follow a run until it ends, from any terminal or machine that sees its folder: progress, losses, failures."""
    from toymodels.sweeps.console import watching

    watching.watch(run, every=every, once=once, as_json=as_json)


@app.command()
def doctor(clear_cache: options.ClearCache = False, as_json: options.Json = False) -> None:
    """Print versions, device, threads, memory, disk and optional parts."""
    from toymodels.sweeps.console import doctor

    if clear_cache:
        doctor.say_cleared(as_json)
    else:
        doctor.say_facts(as_json)


if __name__ == "__main__":
    app()
