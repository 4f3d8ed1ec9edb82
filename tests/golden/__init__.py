"""Golden tests: what today's program writes, prints, plans and refuses, as seen from the outside.

    data/sweeps/*.toml     the tiny sweeps, which together use every setting and every choice
    data/written/RUN/      what each of `running.RUNS` wrote: packs, tables, sweep.toml, manifest.json
    data/said/*.json       what each of `saying.COMMANDS` printed, in order
    data/plans.json        every shipped sweep: plan hash, models, packs, keys
    data/refusals.json     every command of `refusing.REFUSED`: exit code and sentence
    data/made_on.json      the processor and versions that bytes depend on

Where processor and versions are those of ``made_on.json``, bytes and numbers are equal; elsewhere names, shapes, types
and every word are, and numbers are near. Nothing here is skipped anywhere.

    python -m pytest tests/golden
    python -m tests.golden.record

The second line, at the top of the repository, records everything anew: where a change of behaviour is wanted, it is the
diff of ``data/``. Everything goes through the command line but for `inside`, the one module that knows where things
stand in the package.
"""
