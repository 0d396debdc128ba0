"""What holds for any input, looked for by hypothesis: a figure or a refusal, never a crash."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import LONG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save

from vqlib import (
    Images,
    Run,
    TrainConfig,
    UserError,
    VectorQuantizer,
    fit,
    load_images,
    load_run,
    ssim,
)
from vqlib.config import typed
from vqlib.quantizer import codebook_use
from vqlib.runs import write_environment
from vqlib.similarity import ssim_by_protocol
from vqlib.system.checkpoint import read_state

pytestmark = pytest.mark.faults


def examples(count: int) -> Callable:
    """So many examples, the same ones each time; many more, and other ones, in the long round."""
    return settings(
        max_examples=20 * count if LONG else count,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def outcome(ask: Callable[[], Any]) -> tuple[Any, str | None]:
    """What was answered, or None and the refusal."""
    try:
        return ask(), None
    except UserError as error:
        return None, str(error)


NAMES = [field.name for field in fields(TrainConfig)]
ANYTHING = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    *(st.binary(max_size=4), st.lists(st.integers(), max_size=2), st.sampled_from(["1e-3", "256"])),
)


# --- configs -------------------------------------------------------------------------------


@examples(200)
@given(st.dictionaries(st.sampled_from([*NAMES, "lr"]), ANYTHING, max_size=4))
def test_any_values_are_a_config_or_refused_in_a_line(values: dict[str, object]) -> None:
    config, refusal = outcome(lambda: TrainConfig.from_dict(values))
    if refusal:
        assert "\n" not in refusal
        return
    stored = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(stored) == config
    assert config.run_name == TrainConfig.from_dict(stored).run_name
    assert "/" not in config.run_name


@examples(100)
@given(ANYTHING, st.sampled_from([int, float, str, bool, int | None]))
def test_any_parameter_takes_its_type_or_is_refused(value: object, kind: type) -> None:
    taken, refusal = outcome(lambda: typed("size", value, kind))
    if refusal:
        assert refusal.startswith("size must be ")
        return
    assert isinstance(taken, kind)
    assert typed("size", str(taken), kind) == taken


# --- metrics -------------------------------------------------------------------------------


@examples(40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(11, 20), st.integers(11, 20)),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["gaussian", 2, 7, 11]),
)
def test_ssim_is_between_minus_one_and_one_and_one_for_equal_images(
    shape: tuple[int, ...], seed: int, window: str | int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, *shape, generator=generator).double().round(decimals=seed % 3)
    scores = ssim(x, y, window=window)
    assert scores.shape == shape[:1]
    assert (scores.abs() <= 1 + 1e-9).all()
    torch.testing.assert_close(ssim(x, x, window=window), torch.ones_like(scores))
    torch.testing.assert_close(ssim(255 * x, 255 * y, 255, window), scores, rtol=1e-6, atol=1e-6)


@examples(60)
@given(
    st.sampled_from([math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6, 255.0]),
    st.integers(0, 2 * 3 * 32 * 32 - 1),
    st.booleans(),
)
def test_one_wrong_pixel_is_refused_wherever_it_is(value: float, place: int, in_x: bool) -> None:
    good = torch.full((2, 3, 32, 32), 0.5)
    bad = good.clone()
    bad.view(-1)[place] = value
    for metric in (ssim, ssim_by_protocol):
        with pytest.raises(UserError, match=r"^[xy] has values .* outside \[0, 1\]$"):
            metric(*((bad, good) if in_x else (good, bad)))


@examples(40)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_perplexity_is_between_one_and_the_codes_in_use(counts: list[int]) -> None:
    use = codebook_use(torch.tensor(counts))
    assert 1 - 1e-9 <= use["perplexity"] <= use["codes_used"] + 1e-9
    assert use["codes_used"] == np.count_nonzero(counts)


# --- the quantizer -------------------------------------------------------------------------


@examples(40)
@given(
    *(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0.0, 0.99]),
    st.integers(0, 2**32 - 1),
)
def test_any_codebook_gives_the_nearest_code(
    num_embeddings: int, dim: int, batch: int, side: int, decay: float, seed: int
) -> None:
    """K = 1 and D = 1 among them; training moves the codebook to nothing that is not finite."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        quantizer = VectorQuantizer(num_embeddings, dim, decay)
        z_e = torch.randn(batch, dim, side, side)
    codebook = quantizer.codebook.detach().clone()
    quantized = quantizer(z_e)
    vectors = z_e.permute(0, 2, 3, 1).reshape(-1, 1, dim)
    distances = (vectors - codebook).norm(dim=2)
    chosen = distances.gather(1, quantized.codes.view(-1, 1))[:, 0]
    torch.testing.assert_close(chosen, distances.min(1).values, rtol=1e-4, atol=1e-4)
    assert quantized.z_q.shape == z_e.shape
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


# --- training ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "values", "count"),
    [
        ("vae", {"batch_size": 1}, 1),
        ("vae", {"latent_dim": 1, "batch_size": 3}, 7),
        ("vqvae", {"batch_size": 1}, 1),
        ("vqvae", {"num_embeddings": 1, "batch_size": 4}, 9),
        ("vqvae", {"embedding_dim": 1, "batch_size": 10**6}, 9),
        ("vqvae", {"num_embeddings": 1, "embedding_dim": 1, "decay": 0.0, "batch_size": 5}, 6),
        ("vqvae", {"num_hiddens": 2, "num_residual_hiddens": 1, "num_residual_layers": 0}, 2),
    ],
)
def test_the_smallest_models_and_data_can_be_trained(
    photos: Images,
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    values: dict[str, float],
    count: int,
) -> None:
    """One image, K = 1, D = 1, batches that do not divide the data or that are larger than it."""
    images = Images("photos", photos.train[:count], photos.test[:1])
    run = fit(small_config(model, epochs=2, **values), images, tmp_path)
    steps = math.ceil(count / run.config.batch_size)
    assert run.history["steps"].tolist() == [steps, 2 * steps]
    assert np.isfinite(run.history["loss"]).all()
    assert math.isfinite(run.evaluation["test_ssim"])
    assert run.evaluation["n_test"] == 1
    if run.config.num_embeddings == 1:  # it cannot collapse
        assert run.evaluation["perplexity"] == pytest.approx(1)
        assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
def test_a_limit_below_one_is_refused(picture_folder: Path, limit: int) -> None:
    for ask in (
        lambda: load_images(str(picture_folder), limit),
        lambda: TrainConfig(limit=limit),
    ):
        with pytest.raises(UserError, match=f"^limit must be above 0, got {limit}$"):
            ask()


def test_a_limit_of_one_is_one_image_of_each_split(picture_folder: Path) -> None:
    images = load_images(str(picture_folder), 1)
    assert (len(images.train), len(images.test)) == (1, 1)


def test_one_class_is_enough(picture_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(picture_folder / split / "odd", tmp_path / split / "odd")
    images = load_images(str(tmp_path))
    assert (len(images.train), len(images.test)) == (20, 5)


# --- files ---------------------------------------------------------------------------------


@examples(60)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_resume_state(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resume.pt"
    path.write_bytes(content)
    assert read_state(path) is None
    assert not path.exists()


@examples(30)
@given(st.sampled_from(["PNG", "BMP", "JPEG", "WEBP", "GIF"]), st.data())
def test_any_damage_to_a_picture_is_read_or_refused_by_name(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), (7, 100, 200)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images, refusal = outcome(lambda: load_images(str(tmp_path)))
    if refusal:
        assert str(tmp_path) in refusal
    else:
        assert images.train.shape == (1, 3, 32, 32)


def flip_a_digit(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["history.csv", "evaluation.json"]))
    text = path.read_text()
    digits = [place for place, letter in enumerate(text) if letter.isdigit()]
    place = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != text[place]]))
    path.write_text(text[:place] + other + text[place + 1 :])


def flip_a_bit(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["weights.safetensors", "reconstructions.png"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)


def cut(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["history.csv", "evaluation.json", "weights.safetensors"]))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])


@pytest.mark.parametrize("damage", [flip_a_digit, flip_a_bit, cut])
def test_any_damage_to_a_run_is_told(
    small_runs: dict[str, Run], tmp_path: Path, damage: Callable[[Path, st.DataObject], None]
) -> None:
    """A digit, a bit or an end that is missing: no number is read from that run."""

    @examples(20)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(small_runs["vqvae"].folder, folder)
        damage(folder, data)
        with pytest.raises(UserError, match="is damaged: its checksum is not the one") as refused:
            read_everything(load_run(folder))
        assert str(folder) in str(refused.value)

    holds()


def read_everything(run: Run) -> None:
    _ = run.history, run.evaluation, run.model, run.reconstructions


def seal(folder: Path) -> None:
    """Gives the files as they are now fitting checksums, so that only what they say is wrong."""
    said = json.loads((folder / "environment.json").read_text())
    del said["sha256"], said["seal"]
    write_environment(folder, said)


def rename_weight(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights["encoder.first"] = weights.pop("encoder.0.weight")
    (folder / "weights.safetensors").write_bytes(save(weights))


def reshape_weight(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights["encoder.0.bias"] = weights["encoder.0.bias"][:4].clone()
    (folder / "weights.safetensors").write_bytes(save(weights))


def spoil_weight(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights["encoder.0.bias"][0] = math.nan
    (folder / "weights.safetensors").write_bytes(save(weights))


def change_json(name: str, **values: object) -> Callable[[Path], None]:
    """Sets values in a JSON file; None takes one away."""

    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text()) | values
        said = {key: value for key, value in said.items() if value is not None}
        (folder / name).write_text(json.dumps(said))

    return change


def change_history(row: int, column: str, value: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = list(csv.DictReader((folder / "history.csv").open()))
        lines[row][column] = value
        with (folder / "history.csv").open("w") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)

    return change


def lose_an_epoch(folder: Path) -> None:
    path = folder / "history.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def lose_a_column(folder: Path) -> None:
    path = folder / "history.csv"
    path.write_text(path.read_text().replace("reconstruction", "reconstructed"))


MISFITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "renamed weight": (
        rename_weight,
        "weights.safetensors does not fit its config: encoder.0.weight is missing, encoder.first "
        "is unknown",
    ),
    "other shape": (reshape_weight, "fit its config: encoder.0.bias is 4 and not 8"),
    "not finite": (spoil_weight, "is damaged: encoder.0.bias holds values that are not finite"),
    "other config": (change_json("config.json", embedding_dim=4), "does not fit its config: "),
    "later config": (
        change_json("config.json", dropout=3),
        "config.json: unknown parameter 'dropout': choose from model, ",
    ),
    "no model": (change_json("config.json", model=None), "config.json is damaged: model missing"),
    "mistyped config": (
        change_json("config.json", batch_size="many"),
        "config.json: batch_size must be a whole number, got 'many'",
    ),
    "later format": (
        change_json("environment.json", format=2),
        "environment.json has format 2, and this version of vqlib reads 1: use the version that",
    ),
    "no variance": (
        change_json("environment.json", data_variance=None),
        "environment.json is damaged: data_variance is None, not between 0 and 1",
    ),
    "variance of text": (
        change_json("environment.json", data_variance="0.06"),
        "data_variance is '0.06', not between 0 and 1",
    ),
    "lost epoch": (lose_an_epoch, "history.csv is damaged: its epochs are not 1 to 3"),
    "epoch twice": (change_history(2, "epoch", "2"), "its epochs are not 1 to 3"),
    "lost column": (lose_a_column, "history.csv cannot be read: "),
    "loss of text": (change_history(1, "loss", "low"), "history.csv cannot be read: "),
    "loss not finite": (change_history(1, "loss", "nan"), "not all of its losses are numbers"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_run_that_does_not_fit_is_refused_with_what_differs(
    small_runs: dict[str, Run], tmp_path: Path, name: str
) -> None:
    change, said = MISFITS[name]
    folder = Path(shutil.copytree(small_runs["vqvae"].folder, tmp_path / "some run"))
    change(folder)
    seal(folder)
    with pytest.raises(UserError) as refused:
        read_everything(load_run(folder))
    assert said in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)
