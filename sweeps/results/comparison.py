"""A comparison of two runs: in which settings they differ, and what became of the models that they share.

Made for "the same sweep by another version, or another engine: what moved?", and for two runs that differ in one
setting. Models are paired by all their settings, those aside in which the runs differ as a whole and those that each
tunes for itself; paired models saw the same data. The difference of a measure is ``other - run``, a pair at a time; its
interval is Student's t over seeds, a seed's number being the mean over its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from toymodels.glance import html_page, html_table
from toymodels.hypotheses.statistics.intervals import TAIL
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import as_python, value_text, varying
from toymodels.sweeps.results.described import OWN
from toymodels.sweeps.spec.schema import DEFAULTS

if TYPE_CHECKING:
    from toymodels.sweeps.results.reading import Run

MOST_VALUES = 6
"""of a setting, shown where two runs differ in it"""
MOST_MOVED = 12
"""measures, shown of those that moved"""


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs, ``other`` beside ``run``."""

    run: str
    other: str
    """their folders"""
    settings: pd.DataFrame
    """a row a setting, or a fact of the folder (engine, device, versions), in which they differ, and what each has"""
    pairs: pd.DataFrame
    """a row a pair: ``model`` and ``other_model``, and of each measure the difference, other - run"""
    measures: pd.DataFrame
    """a row a measure: its mean in either run, ``difference`` with its interval ``low`` to ``high`` over ``seeds``, and
    ``largest``, the largest difference of a pair, by size"""
    arms: pd.DataFrame
    """the same, a row an arm and measure, by the settings in which paired models differ, seeds aside"""
    alone: tuple[int, int]
    """how many models of either run have no pair in the other"""
    diverged: tuple[int, int]
    """how many of the paired models diverged in either run"""
    identical: int
    """how many pairs agree in every measure, to the last bit"""

    @property
    def moved(self) -> pd.DataFrame:
        """The rows of `measures` whose interval excludes 0, the clearest first."""
        apart = self.measures[(self.measures["low"] > 0) | (self.measures["high"] < 0)]
        half = (apart["high"] - apart["low"]) / 2
        clearness = (apart["difference"].abs() / half.where(half > 0)).fillna(np.inf)
        return apart.loc[clearness.sort_values(ascending=False, kind="stable").index]

    def __repr__(self) -> str:
        lines = [f"{self.other} beside {self.run}: {self._paired}"]
        lines += [f"  {name}: {here} -> {there}" for name, here, there in self.settings.itertuples()]
        moved = self.moved
        lines += [f"  {name}: {self._difference(row)}" for name, row in moved.head(MOST_MOVED).iterrows()]
        return "\n".join([*lines, f"  {self._unmoved(len(moved))}"])

    def _repr_html_(self) -> str:
        differ = html_table(["differ in", self.run, self.other], [list(row) for row in self.settings.itertuples()])
        moved = self.moved
        rows = [[str(name), self._difference(row)] for name, row in moved.head(MOST_MOVED).iterrows()]
        shown = html_table(["measure", f"{self.other} less {self.run}"], rows) if rows else ""
        facts = [self._paired, self._unmoved(len(moved))]
        return html_page(f"{self.other} beside {self.run}", facts, (differ if len(self.settings) else "") + shown)

    @property
    def _paired(self) -> str:
        alone = [f"{count:,} only in {name}" for count, name in zip(self.alone, (self.run, self.other), strict=True)]
        without = [text for text, count in zip(alone, self.alone, strict=True) if count]
        beside = f" ({', '.join(without)})" if without else ""
        same = f"{self.identical:,} with the same measures to the last bit"
        lost = f", diverged {self.diverged[0]:,} and {self.diverged[1]:,}" if any(self.diverged) else ""
        return f"{len(self.pairs):,} pairs of models{beside}, {same}{lost}"

    def _unmoved(self, moved: int) -> str:
        more = f", the clearest {MOST_MOVED} of them here" if moved > MOST_MOVED else ""
        return f"{moved} of {len(self.measures)} measures moved beyond their 95 % interval over seeds{more}"

    @staticmethod
    def _difference(row: pd.Series) -> str:
        low, high = (f"{row[end]:+.3g}" for end in ("low", "high"))
        return f"{row['difference']:+.3g} ({low} to {high}; {row['seeds']:.0f} seeds), largest {row['largest']:+.3g}"


def compare(run: Run, other: Run) -> Comparison:
    """What differs between two runs. Raises `FolderError` where their models cannot be paired."""
    tables = _with_all_settings(run, other)
    names = [name for name in dict.fromkeys((*run.setting_columns, *other.setting_columns)) if name in tables[0]]
    values = [{name: _distinct(table[name]) for name in names} for table in tables]
    differing = [name for name in names if values[0][name] != values[1][name]]
    here, there = _paired(run, other, tables, names, differing)
    measures = _measured(tables[0], tables[1], names)
    a, b = (table.iloc[rows].reset_index(drop=True) for table, rows in zip(tables, (here, there), strict=True))
    difference = b[measures].astype(float) - a[measures].astype(float)
    by = varying(a, [name for name in names if name not in (*run.tuned, *other.tuned)])
    return Comparison(
        run=str(run.path),
        other=str(other.path),
        settings=_differences(run, other, differing, tables),
        pairs=pd.concat([a[["model"]], b["model"].rename("other_model"), difference], axis=1),
        measures=_over_seeds(a, b, difference, measures),
        arms=_by_arm(a, b, difference, measures, by),
        alone=(len(tables[0]) - len(here), len(tables[1]) - len(there)),
        diverged=(int((a["status"] == "diverged").sum()), int((b["status"] == "diverged").sum())),
        identical=int(((a[measures] == b[measures]) | (a[measures].isna() & b[measures].isna())).all(axis=1).sum()),
    )


def _with_all_settings(run: Run, other: Run) -> list[pd.DataFrame]:
    """Both tables of models, each with its defaults for the settings that an older version did not have."""
    names = {*run.setting_columns, *other.setting_columns}
    tables: list[pd.DataFrame] = []
    for each in (run, other):
        table = each.models.copy()
        for name in sorted(names - set(table.columns)):
            table[name] = [DEFAULTS.get(name)] * len(table)
        tables.append(table)
    return tables


def _paired(
    run: Run, other: Run, tables: Sequence[pd.DataFrame], names: Sequence[str], differing: Sequence[str]
) -> tuple[list[int], list[int]]:
    """The rows of models that are the same in both runs: by all settings; where no two are, without the ones in which
    the runs differ."""
    own = {*run.tuned, *other.tuned}
    for aside in (own, own | {*differing} - {"seed"}):
        by = [name for name in names if name not in aside]
        told = [["\x1f".join(map(_spelled, row)) for row in table[by].itertuples(index=False)] for table in tables]
        if set(told[0]) & set(told[1]):
            break
    else:
        raise FolderError(
            f"{other.path}: none of its models is one of {run.path}'s: they differ in {', '.join(differing)}"
        )
    for each, said in zip((run, other), told, strict=True):
        if len(set(said)) < len(said):
            raise FolderError(
                f"{each.path}: several of its models differ only in {', '.join(differing)}, in which the runs differ "
                "too: which one is to be compared cannot be told"
            )
    place = {text: row for row, text in enumerate(told[1])}
    pairs = [(row, place[text]) for row, text in enumerate(told[0]) if text in place]
    return [here for here, _ in pairs], [there for _, there in pairs]


def _measured(a: pd.DataFrame, b: pd.DataFrame, settings: Sequence[str]) -> list[str]:
    """The columns of numbers that both tables have, and that are no settings."""
    own = {*settings, *OWN["models"]}
    shared = [name for name in a.columns if name in b.columns and name not in own]
    return [name for name in shared if a[name].dtype.kind in "fiub" and b[name].dtype.kind in "fiub"]


def _over_seeds(a: pd.DataFrame, b: pd.DataFrame, difference: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """A row a measure: over seeds, of each the mean over its pairs."""
    alike = np.zeros(len(a), np.int64)
    by_seed = difference.groupby(a["seed"].to_numpy()).mean()
    rows = _rows(a, b, difference, measures, alike, by_seed, np.zeros(len(by_seed), np.int64))
    return rows.droplevel(0)


def _by_arm(
    a: pd.DataFrame, b: pd.DataFrame, difference: pd.DataFrame, measures: Sequence[str], by: Sequence[str]
) -> pd.DataFrame:
    """A row an arm and measure, by the settings that tell the arms apart."""
    spelled = a[list(by)].map(_spelled).agg("\x1f".join, axis=1) if by else pd.Series("", index=a.index)
    arm, _ = pd.factorize(spelled)
    rows = _rows(a, b, difference, measures, arm, difference, arm).reset_index()
    first = a.iloc[np.unique(arm, return_index=True)[1]][list(by)].map(as_python).reset_index(drop=True)
    return pd.concat([first.loc[rows.pop("arm")].reset_index(drop=True), rows], axis=1)


def _rows(
    a: pd.DataFrame,
    b: pd.DataFrame,
    difference: pd.DataFrame,
    measures: Sequence[str],
    arm: np.ndarray,
    by_seed: pd.DataFrame,
    arm_of_seed: np.ndarray,
) -> pd.DataFrame:
    """What is said of each arm and measure, by ``arm`` and ``measure``; ``by_seed`` has the differences that the
    interval is of."""
    names = list(measures)
    numbers = by_seed[names].groupby(arm_of_seed)
    mean, n = numbers.mean(), numbers.count()
    half = numbers.std(ddof=1) / np.sqrt(n) * student.ppf(1 - TAIL, (n - 1).where(n > 1))
    pairs = difference[names].groupby(arm)
    highest, lowest = pairs.max(), pairs.min()
    found = {
        "run": a[names].astype(float).groupby(arm).mean(),
        "other": b[names].astype(float).groupby(arm).mean(),
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "seeds": n,
        "largest": highest.where(highest >= -lowest, lowest),
    }
    return pd.DataFrame(
        {title: table.rename_axis("arm").stack(future_stack=True) for title, table in found.items()}
    ).rename_axis(["arm", "measure"])


# ------------------------------------------------------------------------------------------------------ what differs


def _differences(run: Run, other: Run, differing: Sequence[str], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row a setting or fact, and what either run has."""
    rows = {name: tuple(_listed(table[name]) for table in tables) for name in differing}
    facts = [_facts(each) for each in (run, other)]
    for name in dict.fromkeys((*facts[0], *facts[1])):
        both = tuple(of.get(name, "") for of in facts)
        if both[0] != both[1]:
            rows[name] = both
    return pd.DataFrame.from_dict(rows, orient="index", columns=["run", "other"])


def _facts(run: Run) -> Mapping[str, str]:
    """What a folder's manifest says beside its plan."""
    manifest = run.manifest
    return {
        "engine": manifest.engine,
        "device": manifest.device,
        "numerics": str(manifest.numerics),
        **{name: str(value) for name, value in manifest.versions.items()},
    }


def _listed(values: pd.Series) -> str:
    said = [value_text(as_python(value)) or "none" for value in values]
    distinct = list(dict.fromkeys(said))
    more = f", ... ({len(distinct)} values)" if len(distinct) > MOST_VALUES else ""
    return ", ".join(distinct[:MOST_VALUES]) + more


def _distinct(values: pd.Series) -> set[str]:
    return set(map(_spelled, values))


def _spelled(value: Any) -> str:
    """A setting's value as one text, the same whether a table holds it as a number or, beside words, as a word."""
    plain = as_python(value)
    if isinstance(plain, str):
        try:
            plain = float(plain)
        except ValueError:
            return plain
    return repr(float(plain)) if isinstance(plain, int | float) and not isinstance(plain, bool) else repr(plain)
