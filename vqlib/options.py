"""Options that the commands which train share: one for each setting, and where runs go."""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from vqlib.config import Config
from vqlib.paths import shown


def setting_arguments(
    parser: argparse.ArgumentParser,
    config: type[Config],
    takers: Mapping[str, Collection[str]],
    left_out: Collection[str],
) -> None:
    """Add an option for each setting of a config, grouped by who takes it.

    Args:
        parser: gets the options.
        config: declares the settings.
        takers: title of each model to the names of the settings that it takes.
        left_out: settings that are no options.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in fields(config):
        if field.name in left_out:
            continue
        titles = [title for title, names in takers.items() if field.name in names]
        for_all = len(titles) in (0, len(takers))
        title = "settings" if for_all else f"settings of the {' and the '.join(titles)}"
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(
            "--" + field.name.replace("_", "-"),
            dest=field.name,
            metavar="…",
            help=f"{field.metadata['help']} (default: {_as_given(field.default)})",
        )


def training_arguments(parser: argparse.ArgumentParser, results: Path, what: str) -> None:
    """Add the options that say where to train, and whether to do so again.

    Args:
        parser: gets the options.
        results: the folder of run folders, unless another is given.
        what: is trained, such as `run`.
    """
    parser.add_argument(
        "--results",
        default=results,
        type=Path,
        help=f"where run folders go (default: {shown(results)})",
        metavar="…",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda (default: auto)", metavar="…"
    )
    parser.add_argument(
        "--retrain",
        action="store_true",
        help=f"train even if the project ships the finished {what}",
    )


def _as_given(value: Any) -> str:
    """Return a setting's value as the command line takes it; a list is text such as `8,5,5`."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def given_settings(options: argparse.Namespace, config: type[Config]) -> dict[str, Any]:
    """Return the settings of a config that were given as options."""
    values = {field.name: getattr(options, field.name, None) for field in fields(config)}
    return {name: value for name, value in values.items() if value is not None}
