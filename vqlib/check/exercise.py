"""How a check judges: values and gradients must be those of the right function.

If they are not, they are compared with those of typical mistakes: the one that fits is the hint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqlib.check.calling import call, in_time, message
from vqlib.check.verdict import Found, Verdict, wrong

RIGHT = "right, in values and gradients, on {} inputs."
RIGHT_VALUES = "right on {} inputs."

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """An input to try.

    Attributes:
        about: names the input, as the end of a sentence.
        arguments: by the names that the exercise gives them; each call gets copies.
    """

    about: str
    arguments: Arguments


@dataclass(frozen=True)
class Mistake:
    """A typical mistake.

    Attributes:
        hint: what the reader is told: the mistake and its cause, never the solution.
        function: makes the mistake; takes the arguments by name.
    """

    hint: str
    function: Callable


@dataclass(frozen=True)
class Exercise:
    """A function that the reader writes.

    Attributes:
        name: of the function.
        right: does it right; takes the arguments by name.
        cases: inputs to try. The first must tell all mistakes apart.
        mistakes: typical ones; the first that fits is told.
        returns: what each part of the result is called.
        gradients: arguments whose gradients count.
        view: takes the parts of a result and the arguments to what is compared, if that is another.
    """

    name: str
    right: Callable
    cases: Sequence[Case]
    mistakes: Sequence[Mistake]
    returns: Sequence[str] = ("the result",)
    gradients: Sequence[str] = ()
    view: Callable[[list[Tensor], Arguments], list[Tensor]] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a function made of a case: the parts of its result, and gradients, in float64."""

    values: list[Tensor]
    gradients: dict[str, Tensor]

    def fits(self, other: "Outcome") -> bool:
        """Return whether values and gradients are equal but for rounding."""
        return all_close(self.values, other.values) and all_close(
            list(self.gradients.values()), list(other.gradients.values())
        )


def judge(exercise: Exercise, mine: Callable) -> Verdict:
    """Return the verdict on the reader's function."""
    try:
        with torch.enable_grad(), torch.random.fork_rng([]):
            for case in exercise.cases:
                _try(exercise, mine, case)
    except Found as found:
        return Verdict(found.kind, exercise.name, found.text)
    text = RIGHT if exercise.gradients else RIGHT_VALUES
    return Verdict("right", exercise.name, text.format(len(exercise.cases)))


def all_close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Return whether all tensors have equal shapes, and values but for float32's rounding."""
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def as_tensor(value: Any) -> Tensor:
    """Return a number, a list, an array or a tensor as a float64 tensor with its gradient.

    A single number has no shape, whether it comes as (), (1,) or (1, 1).
    """
    try:
        tensor = torch.as_tensor(value).double()
        return tensor.reshape(()) if tensor.numel() == 1 else tensor
    except (TypeError, ValueError, RuntimeError):
        kind = type(value).__name__
        raise wrong(f"it returns a {kind} that is no tensor, array or number.") from None


def gradients_of(values: Sequence[Tensor], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of a weighted sum of the values for each leaf: zeros if there is none."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in values]
    total = torch.stack([(v * w).sum() for v, w in zip(values, weights, strict=True)]).sum()
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if total.requires_grad:
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: (torch.zeros_like(leaf) if gradient is None else gradient).double()
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def _try(exercise: Exercise, mine: Callable, case: Case) -> None:
    """Compare one case; raise what is wrong with it."""

    def outcome_of(function: Callable) -> Outcome:
        return _outcome(exercise, lambda arguments: function(**arguments), case)

    ours = outcome_of(exercise.right)
    theirs = _outcome(exercise, lambda arguments: call(mine, arguments), case)
    if theirs.fits(ours):
        return
    for mistake in exercise.mistakes:
        if theirs.fits(outcome_of(mistake.function)):
            raise wrong(mistake.hint)
    raise wrong(_difference(exercise, case, ours, theirs))


def _outcome(exercise: Exercise, run: Callable[[Arguments], Any], case: Case) -> Outcome:
    arguments = {
        name: value.clone() if isinstance(value, Tensor) else value
        for name, value in case.arguments.items()
    }
    leaves = {name: arguments[name].requires_grad_() for name in exercise.gradients}
    # what the function gets is no leaf, so that it may work in place
    result = run(arguments | {name: leaf.clone() for name, leaf in leaves.items()})
    values = _parts(exercise, result)
    if exercise.view:
        values = exercise.view(values, case.arguments)
    try:
        gradients = in_time(lambda: gradients_of(values, leaves)) if leaves else {}
    except Found:
        raise
    except Exception as error:
        raise wrong(f"the values can be computed, but not the gradient. {message(error)}") from None
    return Outcome([value.detach() for value in values], gradients)


def _parts(exercise: Exercise, result: Any) -> list[Tensor]:
    """Return the parts of a result as float64 tensors."""
    wanted = len(exercise.returns)
    several = isinstance(result, (tuple, list)) and (wanted > 1 or len(result) == 1)
    parts = list(result) if several else [result]
    if any(part is None or part is ... for part in parts):
        raise Found("not yet", "not solved yet: a part of what it returns is missing.")
    if len(parts) != wanted:
        raise wrong(f"it must return {wanted} things: {', '.join(exercise.returns)}.")
    return [as_tensor(part) for part in parts]


def _difference(exercise: Exercise, case: Case, ours: Outcome, theirs: Outcome) -> str:
    """Say where a function differs if no typical mistake fits."""
    for name, our, their in zip(exercise.returns, ours.values, theirs.values, strict=True):
        if our.shape != their.shape:
            return (
                f"{name}: the shape should be {tuple(our.shape)}, but is {tuple(their.shape)} "
                f"for {case.about}."
            )
        if their.isnan().any():
            return f"{name}: NaN for {case.about}. Is there a 0 / 0, or 0 · log 0?"
        if not all_close([our], [their]):
            far = (our - their).abs().max().item()
            return f"{name}: wrong for {case.about}, by up to {far:.3g}."
    if not any(gradient.any() for gradient in theirs.gradients.values()):
        return (
            "the values are right, but no gradient passes: is a detach, item or numpy in the way?"
        )
    off = [
        name
        for name, gradient in ours.gradients.items()
        if not all_close([gradient], [theirs.gradients[name]])
    ]
    return f"the values are right, but not the gradient for {' and '.join(off)}."
