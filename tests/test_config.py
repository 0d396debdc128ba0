"""What a training run may be called and what it is called."""

import contextlib
import json
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path

import pytest

from vqlib import TrainConfig, UserError
from vqlib.config import setting

FIELDS = {field.name: field for field in fields(TrainConfig)}
WHOLE = [name for name, field in FIELDS.items() if field.type in (int, int | None)]
REAL = [name for name, field in FIELDS.items() if field.type is float]
TEXT = [name for name, field in FIELDS.items() if field.type is str]
BOUNDS = {name: field.metadata["bounds"] for name, field in FIELDS.items()}


def other(name: str) -> object:
    """Return a value of a setting that is not its default."""
    named = {"model": "vae", "dataset": "photos", "limit": 5000, "decay": 0.0}
    default, choices = FIELDS[name].default, FIELDS[name].metadata["choices"]
    if name in named:
        return named[name]
    return choices[-1] if choices else 2 * default + 1


def refusal(**values: object) -> str:
    with pytest.raises(UserError) as refused:
        TrainConfig.from_dict(values)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.faults
@pytest.mark.parametrize("name", ["batchsize", "lr", "Model", "batch-size", ""])
def test_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    message = refusal(**{name: 1})
    assert repr(name) in message
    assert all(field.name in message for field in fields(TrainConfig))


@pytest.mark.faults
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [1.5, "1.5", "many", True, False, [1], {}, float("nan"), "inf"])
def test_what_is_no_whole_number_is_refused(name: str, value: object) -> None:
    message = refusal(**{name: value})
    assert message.startswith(name)
    assert "whole number" in message
    assert repr(value) in message


@pytest.mark.faults
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("value", ["fast", True, None, [0.1], float("nan"), "inf", float("-inf")])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    message = refusal(**{name: value})
    assert message.startswith(name)
    assert "must be a number" in message
    assert repr(value) in message


@pytest.mark.faults
@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("value", [1, None, True, ["vae"], b"vae"])
def test_what_is_no_text_is_refused(name: str, value: object) -> None:
    message = refusal(**{name: value})
    assert message.startswith(name)
    assert "must be text" in message


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "limit"])
def test_only_limit_may_be_none(name: str) -> None:
    assert refusal(**{name: None}).startswith(name)
    assert TrainConfig(limit=None).limit is None


@pytest.mark.faults
@pytest.mark.parametrize("name", [name for name in BOUNDS if BOUNDS[name]])
def test_a_number_out_of_its_bounds_is_refused_with_the_bounds(name: str) -> None:
    beyond = {"above": 0, "at least": -1, "below": 1, "at most": 1}
    for words, bound in BOUNDS[name].items():
        value = bound + beyond[words]
        for given in (value, str(value)):
            message = refusal(**{name: given})
            assert message.startswith(f"{name} must be")
            assert f"{words} {bound:g}" in message
            assert message.endswith(f"got {value}") or message.endswith(f"got {float(value)}")


@pytest.mark.parametrize("name", [name for name in BOUNDS if "at least" in BOUNDS[name]])
def test_a_lowest_bound_is_a_value_too(name: str) -> None:
    lowest = BOUNDS[name]["at least"]
    assert getattr(TrainConfig.from_dict({name: lowest}), name) == lowest


def test_a_vqvae_has_channels_enough_to_halve() -> None:
    """The first convolution has num_hiddens // 2 channels."""
    assert refusal(model="vqvae", num_hiddens=1).startswith("num_hiddens")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "gan"}, "unknown model 'gan': choose one of vae, vqvae"),
        ({"model": "VAE"}, "unknown model 'VAE'"),
        ({"model": ""}, "unknown model ''"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"codebook_init": "zeros"}, "unknown codebook_init 'zeros'"),
        ({"dataset": ""}, "dataset is empty"),
    ],
)
def test_unknown_choice_is_refused(values: dict[str, object], said: str) -> None:
    assert said in refusal(**values)


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


@pytest.mark.parametrize("seed", [2**53 + 1, str(2**53 + 1)])
def test_large_whole_number_is_not_rounded(seed: object) -> None:
    """Two seeds must not become one; to refuse both is as good."""
    taken = []
    with contextlib.suppress(UserError):
        taken.append(TrainConfig(seed=seed).seed)
    assert taken in ([], [2**53 + 1])


def test_seed_beyond_what_torch_takes_is_refused() -> None:
    """An epoch's seed is made from it, and torch's are below 2^64."""
    assert refusal(seed=10**18).startswith("seed")


def test_defaults_are_those_of_the_report() -> None:
    config = TrainConfig()
    assert (config.epochs, config.learning_rate) == (40, 5e-4)
    assert (config.num_embeddings, config.embedding_dim) == (512, 64)
    assert (config.num_hiddens, config.num_residual_hiddens) == (128, 32)
    assert (config.latent_dim, config.commitment_cost, config.decay) == (128, 0.25, 0.99)


@dataclass(frozen=True)
class Listed(TrainConfig):
    """A config with a list, such as the levels of a finite scalar quantizer."""

    levels: tuple[int, ...] = setting((8, 5), "levels of each dimension", above=1)


@pytest.mark.parametrize("given", [[7, 5, 5], (7, 5, 5), "7,5,5", "[7, 5, 5]", ["7", 5.0, "5"]])
def test_a_setting_may_be_a_list(given: object) -> None:
    config = Listed(levels=given)
    assert config.levels == (7, 5, 5)
    assert config.run_name.endswith("-levels7x5x5")
    assert Listed.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("given", [[], "", 7, None, [7, 1], [7, 5.5], "7;5"])
def test_a_list_of_other_things_is_refused(given: object) -> None:
    with pytest.raises(UserError, match=r"^levels must be"):
        Listed(levels=given)


def test_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(FrozenInstanceError):
        config.epochs = 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch_size": 256}, "vqvae-cifar10-b256-e40-s0"),
        ({"model": "vae", "dataset": "photos", "epochs": 2, "seed": 3}, "vae-photos-b64-e2-s3"),
        ({"limit": 5000, "decay": 0}, "vqvae-cifar10-b64-e40-s0-limit5000-decay0.0"),
        ({"learning_rate": 1e-3}, "vqvae-cifar10-b64-e40-s0-learning_rate0.001"),
    ],
)
def test_run_name(values: dict[str, object], expected: str) -> None:
    assert TrainConfig.from_dict(values).run_name == expected


@pytest.mark.parametrize("name", FIELDS)
def test_runs_that_differ_have_different_names(name: str) -> None:
    """In any one field: two runs never share a folder."""
    assert TrainConfig.from_dict({name: other(name)}).run_name != TrainConfig().run_name


def test_folders_have_different_names(tmp_path: Path) -> None:
    names = [
        TrainConfig(dataset=str(tmp_path / folder)).run_name
        for folder in ("a/cats", "b/cats", "a/Cats", "a/cats 2", "cifar10", "...", "Kätzchen")
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isascii()
        assert not set(name) & set("/\\ :*?\"<>|'")


@pytest.mark.parametrize("dataset", ["~nosuchuser/pictures", "a\0b"])
def test_impossible_folder_is_no_crash(dataset: str) -> None:
    """It has a name or is refused; which of the two does not matter."""
    with contextlib.suppress(UserError):
        assert TrainConfig(dataset=dataset).run_name.startswith("vqvae-")


def test_folder_is_the_same_run_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its path is written, a folder gives one run, not two that collide."""
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    ways = [tmp_path / "pictures", "pictures", "./pictures/"]
    configs = [TrainConfig(dataset=way) for way in ways]
    assert len({config.run_name for config in configs}) == 1
    assert configs[0] == configs[1] == configs[2]


@pytest.mark.parametrize("name", FIELDS)
def test_dict_roundtrip(name: str) -> None:
    config = TrainConfig.from_dict({name: other(name)})
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.to_dict()[name] == other(name)
