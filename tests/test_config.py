"""What a training run may be, and what its folder is called."""

import json
import math
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path

import pandas as pd
import pytest
from conftest import examples, outcome, refusal
from hypothesis import given
from hypothesis import strategies as st

from vqlib import TrainConfig
from vqlib.config import (
    MAX_SEED,
    described,
    setting,
    settings_of,
    swept,
    title_of,
    typed,
    varied,
    written,
)
from vqlib.models import MODELS, settings

FIELDS = {field.name: field for field in fields(TrainConfig)}
WHOLE = [name for name, field in FIELDS.items() if field.type in (int, int | None)]
REAL = [name for name, field in FIELDS.items() if field.type is float]
TEXT = [name for name, field in FIELDS.items() if field.type is str]
BOUNDS = {name: field.metadata["bounds"] for name, field in FIELDS.items()}
CHOICES = {name: field.metadata["choices"] for name, field in FIELDS.items()}


def other(name: str) -> object:
    """Return a value of a setting that is not its default."""
    named = {"model": "vae", "dataset": "photos", "limit": 5000}
    default = FIELDS[name].default
    if name in named or CHOICES[name]:
        return named.get(name) or CHOICES[name][-1]
    if isinstance(default, tuple):
        return 2 * default
    if "a multiple of" in BOUNDS[name]:
        return 2 * default
    return (default + 1) / 2 if "below" in BOUNDS[name] else 2 * default + 1  # closer to 1


def refuse(values: dict[str, object], *facts: object) -> str:
    """Return the line with which a config is refused; it must state all the facts."""
    return refusal(lambda: TrainConfig.from_dict(values), *facts)


# --- values --------------------------------------------------------------------------------


def test_defaults_are_those_of_the_report() -> None:
    config = TrainConfig()
    assert (config.epochs, config.learning_rate) == (40, 5e-4)
    assert (config.num_embeddings, config.embedding_dim) == (512, 64)
    assert (config.num_hiddens, config.num_residual_hiddens) == (128, 32)
    assert (config.latent_dim, config.commitment_cost, config.decay) == (128, 0.25, 0.99)


def test_a_config_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(FrozenInstanceError):
        config.epochs = 3  # type: ignore[misc]


def test_every_setting_of_a_model_is_a_field() -> None:
    assert {name for model in MODELS for name in settings(model)} <= set(FIELDS)


def test_every_field_has_a_help_text() -> None:
    assert [name for name, field in FIELDS.items() if not field.metadata["help"]] == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch_size", "256", 256),
        ("batch_size", " 12 ", 12),
        ("batch_size", 64.0, 64),
        ("epochs", "1e1", 10),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", 1, 1.0),
        ("decay", "0", 0.0),
        ("limit", "5000", 5000),
        ("limit", "none", None),
        ("limit", "None", None),
        ("limit", "", None),
    ],
)
def test_values_take_the_field_s_type(name: str, value: object, expected: object) -> None:
    taken = getattr(TrainConfig.from_dict({name: value}), name)
    assert taken == expected
    assert type(taken) is type(expected)
    assert TrainConfig.from_dict({name: value}) == TrainConfig.from_dict({name: expected})


@dataclass(frozen=True)
class Listed(TrainConfig):
    """A config with a list, such as the levels of a finite scalar quantizer."""

    levels: tuple[int, ...] = setting((8, 5), "levels of each dimension", above=1)


@pytest.mark.parametrize("levels", [[7, 5, 5], (7, 5, 5), "7,5,5", "[7, 5, 5]", ["7", 5.0, "5"]])
def test_a_setting_may_be_a_list(levels: object) -> None:
    config = Listed(levels=levels)
    assert config.levels == (7, 5, 5)
    assert config.run_name.endswith("-levels7x5x5")
    assert Listed.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", FIELDS)
def test_a_config_is_the_same_after_a_trip_through_a_dict(name: str) -> None:
    config = TrainConfig.from_dict({name: other(name)})
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.to_dict()[name] == other(name)


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("name", ["batchsize", "lr", "Model", "batch-size", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    refuse({name: 1}, repr(name), *FIELDS)


@pytest.mark.faults
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [1.5, "1.5", "many", True, False, [1], {}, float("nan"), "inf"])
def test_what_is_no_whole_number_is_refused(name: str, value: object) -> None:
    refuse({name: value}, name, "whole number", repr(value))


@pytest.mark.faults
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("value", ["fast", True, None, [0.1], float("nan"), "inf", float("-inf")])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    refuse({name: value}, name, "a number", repr(value))


@pytest.mark.faults
@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("value", [1, None, True, ["vae"], b"vae"])
def test_what_is_no_text_is_refused(name: str, value: object) -> None:
    refuse({name: value}, name, "text", repr(value))


@pytest.mark.faults
@pytest.mark.parametrize("levels", [[], "", 7, None, [7, 1], [7, 5.5], "7;5"])
def test_a_list_of_other_things_is_refused(levels: object) -> None:
    refusal(lambda: Listed(levels=levels), "levels must be")


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "limit"])
def test_only_the_limit_may_be_none(name: str) -> None:
    refuse({name: None}, name)
    assert TrainConfig(limit=None).limit is None


@pytest.mark.faults
@pytest.mark.parametrize("name", [name for name in BOUNDS if BOUNDS[name]])
def test_a_number_out_of_its_bounds_is_refused_with_the_bounds(name: str) -> None:
    beyond = {"above": 0, "at least": -1, "below": 1, "at most": 1, "a multiple of": 1}
    for words, bound in BOUNDS[name].items():
        value = FIELDS[name].type(bound + beyond[words]) if name in REAL else bound + beyond[words]
        is_list = isinstance(FIELDS[name].default, tuple)
        for form in ([value] if is_list else value, str(value)):
            refuse({name: form}, name, f"{words} {bound:g}", f"got {value}")


@pytest.mark.parametrize("name", [name for name in BOUNDS if "at least" in BOUNDS[name]])
def test_a_lowest_bound_is_a_value_too(name: str) -> None:
    bound = BOUNDS[name]["at least"]
    lowest = (bound,) if isinstance(FIELDS[name].default, tuple) else bound
    assert getattr(TrainConfig.from_dict({name: lowest}), name) == lowest


def test_a_vqvae_has_at_least_two_channels() -> None:
    # the first convolution has half of them
    refuse({"model": "vqvae", "num_hiddens": 1}, "num_hiddens")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["model", *(name for name in FIELDS if CHOICES[name])])
def test_an_unknown_choice_is_refused_with_the_choices(name: str) -> None:
    choices = CHOICES[name] or tuple(MODELS)
    for value in (5, 32) if name in WHOLE else ("gan", "VAE", ""):
        refuse({name: value}, f"unknown {name} {value!r}", *choices)


@pytest.mark.faults
def test_an_empty_dataset_is_refused() -> None:
    refuse({"dataset": ""}, "dataset is empty")


@pytest.mark.parametrize("seed", [2**53 + 1, str(2**53 + 1)])
def test_a_large_whole_number_is_not_rounded(seed: object) -> None:
    # two seeds must not become one; to refuse both is as good
    config, refused = outcome(lambda: TrainConfig(seed=seed))
    assert refused or config.seed == 2**53 + 1


def test_a_seed_beyond_what_torch_takes_is_refused() -> None:
    # an epoch's seed is made from it, and torch's are below 2^64
    refuse({"seed": MAX_SEED + 1}, "seed")


ANYTHING = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    *(st.binary(max_size=4), st.lists(st.integers(), max_size=2), st.sampled_from(["1e-3", "256"])),
)


@pytest.mark.faults
@examples(200)
@given(st.dictionaries(st.sampled_from([*FIELDS, "lr"]), ANYTHING, max_size=4))
def test_any_values_are_a_config_or_refused_in_a_line(values: dict[str, object]) -> None:
    config, refused = outcome(lambda: TrainConfig.from_dict(values))
    if refused:
        return
    stored = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(stored) == config
    assert config.run_name == TrainConfig.from_dict(stored).run_name
    assert "/" not in config.run_name


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch_size": 256}, "vqvae-cifar10-b256-e40-s0"),
        ({"model": "vae", "dataset": "photos", "epochs": 2, "seed": 3}, "vae-photos-b64-e2-s3"),
        ({"limit": 5000, "decay": 0}, "vqvae-cifar10-b64-e40-s0-limit5000-decay0.0"),
        ({"learning_rate": 1e-3}, "vqvae-cifar10-b64-e40-s0-learning_rate0.001"),
        ({"grid": 16}, "vqvae-cifar10-b64-e40-s0-grid16"),
    ],
)
def test_a_run_is_named_by_what_differs_from_the_defaults(
    values: dict[str, object], expected: str
) -> None:
    assert TrainConfig.from_dict(values).run_name == expected


@pytest.mark.parametrize("name", FIELDS)
def test_runs_that_differ_in_any_field_have_different_names(name: str) -> None:
    assert TrainConfig.from_dict({name: other(name)}).run_name != TrainConfig().run_name


@pytest.mark.parametrize(
    ("asked", "dataset", "slug"),
    [
        ("CIFAR10", "cifar10", "cifar10"),
        ("FashionMNIST", "FashionMNIST", "fashionmnist"),
        ("CIFAR100", "CIFAR100", "cifar100"),
    ],
)
def test_a_data_set_of_torchvision_has_one_name_whatever_folder_is_there(
    asked: str, dataset: str, slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / asked).mkdir()
    monkeypatch.chdir(tmp_path)
    assert TrainConfig(dataset=asked).dataset == dataset
    assert TrainConfig(dataset=asked).run_name == f"vqvae-{slug}-b64-e40-s0"
    assert TrainConfig(dataset=f"./{asked}").dataset == str(tmp_path / asked)


def test_runs_on_different_folders_have_different_names(tmp_path: Path) -> None:
    names = [
        TrainConfig(dataset=str(tmp_path / folder)).run_name
        for folder in ("a/cats", "b/cats", "a/Cats", "a/cats 2", "cifar10", "...", "Kätzchen")
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isascii()
        assert not set(name) & set("/\\ :*?\"<>|'")


@pytest.mark.parametrize("dataset", ["~nosuchuser/pictures", "a\0b"])
def test_a_folder_that_cannot_be_has_a_name_or_is_refused(dataset: str) -> None:
    config, refused = outcome(lambda: TrainConfig(dataset=dataset))
    assert refused or config.run_name.startswith("vqvae-")


def test_a_folder_is_one_run_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    ways = [tmp_path / "pictures", "pictures", "./pictures/"]
    configs = [TrainConfig(dataset=way) for way in ways]
    assert len({config.run_name for config in configs}) == 1
    assert configs[0] == configs[1] == configs[2]


# --- types ---------------------------------------------------------------------------------


@pytest.mark.faults
@examples(100)
@given(ANYTHING, st.sampled_from([int, float, str, bool, int | None]))
def test_any_parameter_takes_its_type_or_is_refused(value: object, kind: type) -> None:
    taken, refused = outcome(lambda: typed("size", value, kind))
    if refused:
        assert refused.startswith("size must be ")
        return
    assert isinstance(taken, kind)
    assert typed("size", str(taken), kind) == taken


# --- what varies ---------------------------------------------------------------------------


def runs(*rows: tuple[object, ...], columns: str = "model batch_size beta") -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns.split())


def test_what_varies_is_each_setting_with_several_values_among_the_models_that_have_it() -> None:
    same = runs(("vae", 16, 1.0), ("vae", 16, 1.0), ("vqvae", 16, None))
    assert varied(same.assign(seed=[0, 1, 2])) == ["batch_size"]  # to have a name for them
    assert varied(same.assign(beta=[1.0, 0.1, None])) == ["beta"]
    assert varied(same.assign(batch_size=[16, 16, 32], beta=[1.0, 0.1, None])) == [
        *("batch_size", "beta")
    ]


def test_figures_are_drawn_by_the_setting_of_which_a_model_has_most_values() -> None:
    codes = runs(
        *(("vqvae", 16, 8, 40), ("vqvae", 64, 8, 40), ("vqvae", 512, 8, 40)),
        *(("vqvae", 512, 4, 40), ("vqvae", 512, 16, 20)),
        columns="model num_embeddings grid epochs",
    ).assign(batch_size=64)
    assert swept(codes) == ["num_embeddings"]
    both = pd.concat([codes, runs(("vae", 40, 1.0), ("vae", 40, 0.1), columns="model epochs beta")])
    assert swept(both) == ["beta", "num_embeddings"]
    assert swept(codes[:1]) == ["batch_size"]


def test_of_two_settings_with_as_many_values_the_model_s_own_number_is_drawn() -> None:
    columns = "model batch_size beta observation"
    grid = runs(("vae", 16, 1.0, "fixed"), ("vae", 64, 0.1, "calibrated"), columns=columns)
    assert swept(grid) == ["beta"]


def test_a_setting_has_a_name_and_its_value_is_written_in_few_digits() -> None:
    assert title_of("batch_size") == "batch size"
    assert title_of("num_embeddings") == "codebook size"
    assert described(["batch_size"], 16) == "batch size 16"
    assert described(["grid", "beta"], (8.0, 1e-3)) == "grid 8, beta 0.001"
    assert [written(value) for value in (512.0, 5e-4, "normal", (8, 5), math.nan, None)] == [
        *("512", "0.0005", "normal", "8x5", "–", "–")
    ]


def test_the_settings_of_a_model_are_its_own_and_those_of_all() -> None:
    own = set(settings_of("vae"))
    assert {"batch_size", "epochs", "limit", "beta", "latent_dim"} <= own
    assert not {"model", "grid", "decay"} & own
