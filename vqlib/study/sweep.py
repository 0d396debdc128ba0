"""Sweeps: the runs that the values of a preset ask for.

Each setting has one value or a list of them, and a preset asks for every combination. A model may
have values of its own, under its name; they replace those for all models.
"""

import itertools
from dataclasses import fields
from typing import Any, get_origin

from vqlib.config import DATA, TrainConfig, settings_of, typed
from vqlib.errors import UserError
from vqlib.models import MODELS

PLURALS = {"models": "model", "batch_sizes": "batch_size", "seeds": "seed"}
FIELDS = {field.name: field for field in fields(TrainConfig)}
LISTS = {name for name, field in FIELDS.items() if get_origin(field.type) is tuple}


def configs_of(preset: dict[str, Any]) -> list[TrainConfig]:
    """Return the runs that a preset asks for: by model, seeds last; then those of `also`.

    Args:
        preset: its names and values, but for `job`.

    Raises:
        UserError: if a name is unknown or a value makes no sense.
    """
    values = _singular(preset)
    also = values.pop("also", [])
    if not isinstance(also, list) or not all(isinstance(entry, dict) for entry in also):
        raise UserError("also must be a list of runs such as {model: vae, seed: 1}")
    own = {name: _own(name, values.pop(name)) for name in list(values) if name in MODELS}
    named = values.pop("model", None) or list(own)
    models = [_model(name) for name in (named if isinstance(named, list) else [named])]
    if not models:
        raise UserError("no model is named: add a list such as models: [vae, vqvae]")
    entries = [(_model(entry.get("model"), "also: "), entry) for entry in also]
    everything = [*models, *(model for model, _ in entries)]
    if unused := [name for name in own if name not in everything]:
        raise UserError(f"{unused[0]} has settings, but is not in the list of models")
    known = {name for model in everything for name in settings_of(model)}
    _check_names(values, known, known | set(MODELS))
    for model, name in itertools.product(everything, DATA):
        if name in values and name not in settings_of(model):
            raise UserError(f"{model} has no setting {name}, which is the same for all runs")
    lists = {model: _lists(model, values | own.get(model, {})) for model in everything}
    runs = [run for model in models for run in _combined(model, lists[model])]
    runs += [run for model, entry in entries for run in _further(model, entry, lists[model])]
    return [TrainConfig(**run) for run in runs]


def _singular(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the name `batch_size` for `batch_sizes`, and so on."""
    for plural, name in PLURALS.items():
        if name in values and plural in values:
            raise UserError(f"{name} and {plural} mean the same: give one of them")
    return {PLURALS.get(name, name): value for name, value in values.items()}


def _model(name: Any, where: str = "") -> str:
    """Return a model's name if there is such a model."""
    if name is None:
        raise UserError(f"{where}a run names no model: add one, such as model: vae")
    return TrainConfig(model=name).model


def _own(model: str, values: Any, where: str = "") -> dict[str, Any]:
    """Return settings that are those of one model, by their names."""
    where = f"{where}{model}: "
    if not isinstance(values, dict):
        raise UserError(f"{where}give settings such as {{epochs: 40}}, got {values!r}")
    own = _singular(values)
    for name in DATA:
        if name in own:
            raise UserError(f"{where}{name} is the same for all runs: give it once, for all")
    known = set(settings_of(model)) - set(DATA)
    _check_names(own, known, known, where)
    return own


def _check_names(values: dict[str, Any], known: set[str], shown: set[str], where: str = "") -> None:
    for name in values:
        if name not in known:
            choices = ", ".join(sorted(shown))
            raise UserError(f"{where}unknown parameter {name!r}: choose from {choices}")


def _lists(model: str, values: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values of each setting that the model has."""
    return {name: _several(name, values[name]) for name in settings_of(model) if name in values}


def _several(name: str, value: Any) -> list[Any]:
    """Return the values of a setting: those of a list, or the one that is given.

    A setting that is itself a list, such as [8, 5, 5], has several values in a list of lists.
    """
    if not isinstance(value, list) or name in DATA:
        return [value]
    if not value:
        raise UserError(f"{name} is an empty list: give a value, or a list such as [1, 2]")
    return [value] if name in LISTS and not isinstance(value[0], list) else value


def _combined(model: str, lists: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return a run for each combination of values; the seed changes fastest."""
    names = sorted(lists, key="seed".__eq__)
    each = itertools.product(*(lists[name] for name in names))
    return [{"model": model, **dict(zip(names, values, strict=True))} for values in each]


def _further(
    model: str, entry: dict[str, Any], lists: dict[str, list[Any]]
) -> list[dict[str, Any]]:
    """Return the runs of an entry of `also`.

    A setting that it does not give has the preset's value for the model. If the preset gives
    several, it has its default.
    """
    given = _own(model, {name: value for name, value in entry.items() if name != "model"}, "also: ")
    for name, values in lists.items():
        if name not in given:
            given[name] = values[0] if len(values) == 1 else _default(model, name, values)
    return _combined(model, _lists(model, given))


def _default(model: str, name: str, values: list[Any]) -> Any:
    """Return a setting's default, if it is one of the values that a preset gives a model."""
    field = FIELDS[name]
    if field.default not in [typed(name, value, field.type) for value in values]:
        raise UserError(
            f"also: a run of {model} must say which {name}: the preset gives several, and "
            f"{field.default} is not one of them"
        )
    return field.default
