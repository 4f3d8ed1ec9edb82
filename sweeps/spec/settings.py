"""The spec: what a sweep file may say, validated strictly.

A `Settings` is one cell of a sweep, every setting resolved. Settings are plain values, as in TOML;
`toymodels.sweeps.spec.building` turns them into the objects of `toymodels`. Dotted names (``features.frequency.law``)
name settings everywhere: in ``[grid]``, in ``--set``, in the columns of the tables.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec import other_names

LawName = Literal["uniform", "zipf", "geometric", "list"]
BRANCHES = ("literal[", "constrained-", "float", "int")
"""What pydantic adds to a setting's path to say which branch of a choice it tried."""
LAW_SETTING = {"uniform": None, "zipf": "exponent", "geometric": "ratio", "list": "values"}
MAX_SEED = 2**63 - 1
KEY_BYTES = 12
ADDED = frozenset({"features.firing.sets", "model.hidden_bias_start", "train.hidden_bias_decay"})
"""Settings that came after the first packs were written. A pack names them only where they are not at their default: so
a sweep that does not use them has the same packs, byte for byte, as before."""
OF_FIRING = {"correlated": "groups", "anticorrelated": "groups", "together": "sets"}
"""the setting that a firing law takes"""


class Section(BaseModel, frozen=True):
    """A table of a sweep file: unknown keys, wrong types, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _as_tuples(value: Any) -> Any:
    """Lists, as TOML has them, as tuples."""
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list) else value


def _in_order(sets: Iterable[Iterable[int]] | None) -> tuple[tuple[int, ...], ...] | None:
    """Sets in one spelling, as their order means nothing."""
    return None if sets is None else tuple(sorted(tuple(sorted(each)) for each in sets))


class Law(Section, frozen=True):
    """``law`` with the one setting it takes."""

    law: LawName = "uniform"
    exponent: float | None = None
    ratio: float | None = None
    values: Annotated[tuple[float, ...] | None, BeforeValidator(_as_tuples)] = None

    @model_validator(mode="after")
    def _one_setting(self) -> Law:
        for law, setting in LAW_SETTING.items():
            if setting is None:
                continue
            given = getattr(self, setting) is not None
            if given and law != self.law:
                raise ValueError(f"law '{self.law}' takes no {setting}")
            if not given and law == self.law:
                raise ValueError(f"law '{law}' needs {setting}")
        return self


class Frequency(Law, frozen=True):
    """How often each feature is active."""

    cap: float = 1.0


class Importance(Law, frozen=True):
    """What an error in each feature costs."""

    shuffle: bool = False
    shuffle_seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None


class Firing(Section, frozen=True):
    """Which features are active together."""

    kind: Literal["independent", "one", "correlated", "anticorrelated", "together"] = "independent"
    groups: Annotated[int, Field(ge=1)] | None = None
    sets: Annotated[tuple[tuple[int, ...], ...] | None, BeforeValidator(_as_tuples), AfterValidator(_in_order)] = None

    @model_validator(mode="after")
    def _one_setting(self) -> Firing:
        for setting in dict.fromkeys(OF_FIRING.values()):
            given, taken = getattr(self, setting) is not None, OF_FIRING.get(self.kind) == setting
            if given != taken:
                raise ValueError(f"firing '{self.kind}' {'takes no' if given else 'needs'} {setting}")
        return self


def _named(key: str) -> BeforeValidator:
    """Lets a table with one key be written as its bare string."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class FeaturesSection(Section, frozen=True):
    """``[features]``"""

    n: Annotated[int, Field(ge=1, le=10**6)]
    density: float | None = None
    frequency: Annotated[Frequency, _named("law")] = Frequency()
    importance: Annotated[Importance, _named("law")] = Importance()
    values: Literal["uniform", "binary", "folded_normal", "exponential"] = "uniform"
    signed: bool = False
    firing: Annotated[Firing, _named("kind")] = Firing()

    @model_validator(mode="before")
    @classmethod
    def _density_of_one(cls, data: Any) -> Any:
        """With exactly one feature active the density is 1/n, and need not be said."""
        if isinstance(data, Mapping) and data.get("density") is None:
            firing, n = data.get("firing"), data.get("n")
            kind = firing.get("kind") if isinstance(firing, Mapping) else firing
            if kind == "one" and type(n) is int and n > 0:
                return {**data, "density": 1 / n}
        return data

    @model_validator(mode="after")
    def _density(self) -> FeaturesSection:
        if self.density is None:
            raise ValueError("density is missing (mean over features of P(active), 0 < density <= 1)")
        return self


class ModelSection(Section, frozen=True):
    """``[model]``"""

    hidden: Annotated[int, Field(ge=1, le=10**5)]
    activation: str = "linear"
    """by name; `toymodels.sweeps.spec.building` knows the names"""
    layer_norm: bool = False
    layer_norm_eps: Annotated[float, Field(ge=0)] | Literal["matched"] = 1e-5
    layer_norm_affine: bool = True
    output: str = "relu"
    """an activation, by name"""
    output_bias: bool = True
    tied: bool = True
    hidden_bias: bool = False
    init_scale: Annotated[float, Field(gt=0)] = 1.0
    hidden_bias_start: float = 0.0


class TaskSection(Section, frozen=True):
    """``[task]``"""

    target: Literal["identity", "absolute"] = "identity"
    loss: Literal["squared", "l4"] = "squared"


class TrainSection(Section, frozen=True):
    """``[train]``"""

    steps: Annotated[int, Field(ge=1, le=10**9)] = 10_000
    batch: Annotated[int, Field(ge=1, le=10**7)] = 1024
    optimizer: Literal["adam", "sgd", "rotated_adam"] = "adam"
    learning_rate: Annotated[float, Field(ge=0)] = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    curve_points: Annotated[int, Field(ge=1, le=10**5)] = 50
    snapshots: Annotated[int, Field(ge=0, le=10**5)] = 0
    hidden_bias_decay: Annotated[float, Field(ge=0)] = 0.0


class EvalSection(Section, frozen=True):
    """``[eval]``"""

    samples: Annotated[int, Field(ge=1, le=10**9)] = 50_000


class Settings(Section, frozen=True):
    """One cell of a sweep: every setting that determines one trained model and how it is measured."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    features: FeaturesSection
    model: ModelSection
    task: TaskSection = TaskSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name; a setting that does not apply is None."""
        values = ((name, read(self)) for name, read in _readers().items())
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    def said_in_packs(self) -> dict[str, Any]:
        """Every setting by its dotted name, but for those of `ADDED` that are at their default."""
        defaults = schema_defaults()
        return {name: value for name, value in self.flat().items() if name not in ADDED or value != defaults[name]}

    def non_default(self) -> dict[str, Any]:
        """The settings that differ from the schema's default: what a model's key is made of."""
        defaults = schema_defaults()
        return {name: value for name, value in self.flat().items() if value != defaults.get(name)}

    def key(self) -> str:
        """The model's key: a hash of its resolved settings, defaults left out, so that a new setting changes no key."""
        return digest(self.non_default()).hex()


def digest(settings: Mapping[str, Any]) -> bytes:
    """A hash of settings by their dotted names."""
    return hashlib.sha256(canonical_json(settings).encode()).digest()[:KEY_BYTES]


def canonical_json(value: Any) -> str:
    """JSON with one spelling: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@cache
def _readers() -> dict[str, Callable[[Settings], Any]]:
    """What reads each setting out of a cell, by its dotted name."""
    return {name: attrgetter(path) for name, path in _leaves(Settings)}


def _leaves(section: type[Section], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names, and paths from attribute to attribute: the same, but for firing, which is named by its kind."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix[:-1] if section is Firing and name == "kind" else f"{prefix}{name}", f"{prefix}{name}"


@cache
def schema_defaults() -> dict[str, Any]:
    """The default of every setting that has one, by dotted name."""
    smallest = Settings(features=FeaturesSection(n=1, density=1.0), model=ModelSection(hidden=1))
    required = {"features.n", "features.density", "model.hidden"}
    return {name: value for name, value in smallest.flat().items() if name not in required}


@cache
def setting_names() -> frozenset[str]:
    """Every dotted name that ``[grid]`` and ``--set`` accept: leaves, and the tables that stand for one choice."""
    tables = {"features.frequency", "features.importance", "features.firing", "features.firing.kind"}
    return frozenset(schema_defaults()) | {"features.n", "features.density", "model.hidden"} | tables


def check_name(name: str, where: str) -> None:
    """Raise `SpecError` unless ``name`` is a setting."""
    if name not in setting_names():
        raise SpecError(f"{where}: unknown setting '{name}'{_meant(name) or did_you_mean(name, setting_names())}")


def _meant(name: str) -> str:
    """The setting that has this name elsewhere, as the end of a sentence; nothing for a name that nobody uses."""
    found = other_names.meant(name, setting_names())
    if found is None:
        return ""
    setting, reason = found
    return f" (did you mean '{setting}'?{f' {reason}' if reason else ''})"


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """The nearest valid choices, as the end of a sentence."""
    choices = sorted(choices)
    near = difflib.get_close_matches(given.lower(), choices, n=1, cutoff=0.5)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (expected one of: {', '.join(choices)})"


def override(raw: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """``raw`` with the setting of this dotted name replaced; tables on the way are copied, not changed."""
    head, _, rest = name.partition(".")
    if not rest:
        return {**raw, head: value}
    inside = raw.get(head, {})
    if isinstance(inside, str) and head in ("frequency", "importance", "firing"):
        inside = {"kind" if head == "firing" else "law": inside}
    if not isinstance(inside, Mapping):
        return raw  # not a table: left as it is, to be refused by name
    return {**raw, head: override(dict(inside), rest, value)}


def validate(raw: Mapping[str, Any], where: str) -> Settings:
    """The settings of one cell; raises `SpecError` naming ``where``, the key, the value and the valid choices."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise SpecError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        path = [part for part in path if not part.startswith(BRANCHES)]
    name, given = ".".join(path), problem["input"]
    if name == "model.layer_norm_eps":
        return f"{name}: expected a number >= 0 or 'matched', got {short(given)}"
    match problem["type"]:
        case "extra_forbidden":
            siblings = [n for n in _keys_beside(path) if n != path[-1]]
            return f"unknown key '{name}'{_meant(name) or did_you_mean(path[-1], siblings)}"
        case "missing":
            return f"{name}: missing"
        case "literal_error":
            expected = str(problem.get("ctx", {}).get("expected", ""))
            hint = did_you_mean(given, _choices(expected)) if isinstance(given, str) else ""
            return f"{name}: expected {expected}, got {short(given)}{hint if 'did you' in hint else ''}"
        case "value_error":
            text = problem["msg"].removeprefix("Value error, ")
            return f"{name}: {text}" if name else text
        case _:
            text = problem["msg"].removeprefix("Input should be ").removeprefix("a ")
            return f"{name}: expected {text[0].lower()}{text[1:]}, got {short(given)}"


def _choices(expected: str) -> list[str]:
    return [part for part in expected.split("'") if part.strip() and part.strip() not in (",", "or")]


def _keys_beside(path: list[str]) -> list[str]:
    section: Any = Settings
    for part in path[:-1]:
        annotation = section.model_fields[part].annotation
        options = [annotation, *get_args(annotation)]
        section = next(o for o in options if isinstance(o, type) and issubclass(o, Section))
    names = list(section.model_fields)
    return [*names, "grid", "case", "question"] if section is Settings else names


def short(value: Any, longest: int = 60) -> str:
    """A value as it can stand in a sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print whole numbers of thousands of digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
