"""Resume states and weights on disk: written whole, read without executing them, checked."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqlib.errors import UserError
from vqlib.system.files import read_bytes, write_atomically

FORMAT = 1  # of run folders and states; a version of vqlib that writes other ones counts it up
STATE = ("config", "model", "optimizer", "history", "precision", "data_md5")


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a resume state and its checksum; keep the state before it as `.previous`."""
    buffer = BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content, _previous(path))


def read_state(path: Path) -> dict[str, Any] | None:
    """Return the newest undamaged resume state, or None if there is none.

    Name a damaged one and remove it, so that it never takes the place of a good one.

    Raises:
        UserError: if a state holds anything but tensors, numbers and text; it is not executed.
    """
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        content = read_bytes(candidate)
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return _load_state(candidate, content[32:])
        print(f"{candidate} is damaged (its checksum does not match), so it was removed")
        candidate.unlink()
    return None


def remove_state(path: Path) -> None:
    """Remove a resume state and the one before it."""
    for candidate in (path, _previous(path)):
        candidate.unlink(missing_ok=True)


def check_state(
    path: Path, state: Mapping[str, Any], config: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Refuse a resume state that lacks something, or is of another format, run or data.

    Args:
        path: of the state, for the message.
        state: as `read_state` gives it.
        config: the run's values by name.
        facts: what the run records of its data: `data_md5`, and `dataset`, their name.
    """
    check_format(path, state)
    if missing := [name for name in STATE if name not in state]:
        raise UserError(f"{path} is not a resume state of vqlib: {', '.join(missing)} missing")
    if differing := difference(state["config"], config):
        raise UserError(f"{path} belongs to another run: {differing}. Delete it to start again.")
    if state["data_md5"] != facts["data_md5"]:
        data = facts.get("dataset", "the data set")
        raise UserError(
            f"{path.parent} was started with other images than {data} holds now: delete the folder "
            "to train it again"
        )


def check_format(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse what a later version of vqlib wrote, and name both formats."""
    found = content.get("format", FORMAT)
    if found != FORMAT:
        raise UserError(
            f"{path} has format {found}, but this version of vqlib reads {FORMAT}: "
            "use the version that wrote it"
        )


def check_weights(path: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit the model, and name what differs, or that are not finite."""
    wanted = model.state_dict()
    differences = [
        *(f"{name} is missing" for name in wanted if name not in weights),
        *(f"{name} is unknown" for name in weights if name not in wanted),
        *(
            f"{name} is {_shape(weights[name])} and not {_shape(value)}"
            for name, value in wanted.items()
            if name in weights and weights[name].shape != value.shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(f"{path} does not fit its config: {', '.join(differences[:3])}{more}")
    for name, value in weights.items():
        if not value.isfinite().all():
            raise UserError(f"{path} is damaged: {name} holds values that are not finite")


def load_optimizer(path: Path, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore Adam from its state; refuse moments that do not have their parameters' shapes."""
    try:
        optimizer.load_state_dict(state)
        for parameter, moments in optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # else Adam would write beyond them
                if moments[name].shape != parameter.shape:
                    shapes = f"{tuple(moments[name].shape)} for {tuple(parameter.shape)}"
                    raise ValueError(f"{name} has shape {shapes}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not fit its config: the optimizer's {error}") from None


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return what differs between two configs, or an empty text."""
    pairs = ((name, there.get(name), value) for name, value in here.items())
    return "; ".join(f"{name} {a} there, {b} here" for name, a, b in pairs if a != b)


def _load_state(path: Path, content: bytes) -> dict[str, Any]:
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises several kinds
        state = None
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a resume state of vqlib: delete it to train this run again")
    return state


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _shape(weight: Tensor) -> str:
    return "×".join(map(str, weight.shape)) or "a number"
