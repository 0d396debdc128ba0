"""The benchmark: the plain loop, the measurements, and their table."""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import SMALL, refusal
from forked import forked
from torch import Tensor, nn

from vqlib import VQVAE, Images, TrainConfig
from vqlib.bench import measure as bench
from vqlib.bench import peers, quality, ways
from vqlib.bench.baseline import Pictures, PlainLoop, plain_loss, plain_model
from vqlib.bench.loops import OwnLoop, flops_per_image, interleave, store_pixels
from vqlib.bench.measure import BATCH_SIZES, MEASUREMENTS, QUALITY_BATCH, training_row
from vqlib.bench.sizes import FULL, QUICK, Sizes
from vqlib.bench.table import (
    PLAIN,
    PUBLISHED,
    RATE,
    RESULTS,
    Row,
    compare,
    headline,
    load,
    section,
    store,
    table,
)
from vqlib.cli import main
from vqlib.images import scale
from vqlib.models import build_model
from vqlib.quantizer import VectorQuantizer

CONFIG = TrainConfig(model="vqvae")
MACHINE: dict[str, Any] = {
    "processor": "Some CPU (R)", "cores": 2, "gpu": "no GPU", "python": "3.11.7",
    "torch": "2.12.1", "data": "cifar10", "date": "2026-11-23", "minutes": 25.7,
}  # fmt: skip
STEM = "some-cpu-r-2-cores-no-gpu"


@pytest.fixture(autouse=True)
def forked_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes that the bench spawns, each of which would import torch."""
    monkeypatch.setattr(multiprocessing, "get_context", {"spawn": forked()}.__getitem__)


@pytest.fixture(scope="module")
def tiny() -> Sizes:
    """Return sizes with which everything is measured in seconds."""
    config = TrainConfig(model="vqvae", batch_size=8, **SMALL["vqvae"])
    return Sizes("tiny", 2, 16, 12, 6, 8, 16, 1, config, pictures=30, samples=3)


# --- the plain loop --------------------------------------------------------------------------


def same_models(images: Images) -> tuple[VQVAE, VQVAE]:
    """Return vqlib's model as it is trained, and the plain one with equal weights."""
    own = cast(VQVAE, build_model(CONFIG, images.variance))
    plain = plain_model(CONFIG, images.variance)
    plain.load_state_dict(own.state_dict())
    return own.to(memory_format=torch.channels_last).train(), plain.train()


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    """Return the loss's gradient with respect to all parameters, as one vector."""
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def relative_difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def test_vqlib_and_the_plain_loop_have_equal_losses_and_gradients(few_photos: Images) -> None:
    own, plain = same_models(few_photos)
    x = scale(few_photos.train[:16])
    own_loss, loss = own.loss(x)["loss"], plain_loss(plain, x - 0.5)
    torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=0)
    assert relative_difference(gradient(own, own_loss), gradient(plain, loss)) < 1e-4
    torch.testing.assert_close(own.quantizer.codebook, plain.quantizer.codebook)


def test_in_bfloat16_losses_and_gradients_are_nearly_equal(few_photos: Images) -> None:
    own, plain = same_models(few_photos)
    x = scale(few_photos.train[:16])
    with torch.autocast("cpu", torch.bfloat16):
        own_loss = own.loss(x)["loss"]
    loss = plain_loss(plain, x - 0.5)
    torch.testing.assert_close(own_loss, loss, rtol=0.01, atol=0)
    assert relative_difference(gradient(own, own_loss), gradient(plain, loss)) < 0.05


def test_the_plain_loop_sees_every_image_once_per_epoch(few_photos: Images) -> None:
    seen = torch.cat(list(PlainLoop(CONFIG, few_photos).loader))
    expected = scale(few_photos.train) - 0.5
    assert seen.shape == expected.shape
    torch.testing.assert_close(
        seen.sum((1, 2, 3)).sort().values, expected.sum((1, 2, 3)).sort().values
    )


def test_the_plain_loop_reads_the_same_pixels_as_vqlib(few_photos: Images) -> None:
    pictures = Pictures(few_photos.train)
    torch.testing.assert_close(pictures[7], scale(few_photos.train)[7] - 0.5)


def test_the_plain_loop_learns(tiny: Sizes, few_photos: Images) -> None:
    loop = PlainLoop(tiny.config, few_photos)
    means = [loop.train_epoch() for _ in range(4)]
    assert means[-1]["loss"] < means[0]["loss"]
    assert 1 <= means[0]["perplexity"] <= tiny.config.num_embeddings


# --- the measurements ------------------------------------------------------------------------


def test_the_bench_prints_the_table_that_it_writes(
    tiny: Sizes, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench.run(replace(tiny, name="full"), str(picture_folder), tmp_path)
    printed = capsys.readouterr().out
    as_json, as_markdown = sorted(tmp_path.iterdir())
    stored, machine = load(as_json)
    assert as_markdown.read_text() in printed
    assert [row.what for row in stored] == [row.what for row in rows]
    for fact in ("processor", "cores", "threads", "torch", "python", "data", "git_commit"):
        assert machine[fact]
    assert all(title in printed for title in MEASUREMENTS)
    for row in rows:
        is_measured = row.vqlib is not None and row.vqlib > 0
        assert is_measured or "not measured" in row.how or "more than" in row.how, row.what
    short, _ = headline(as_json.stem.removeprefix("full-"), tmp_path).split("\n\n")
    named = (*(f"batch {size}" for size in BATCH_SIZES), "SSIM")
    for what, line in zip(named, short.splitlines()[2:], strict=True):
        assert what in line


@pytest.mark.parametrize(("options", "sizes"), [(["--quick"], QUICK), ([], FULL)])
def test_an_interrupted_bench_says_that_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sizes: Sizes,
) -> None:
    asked: list[Sizes] = []

    def interrupt(sizes: Sizes) -> None:
        asked.append(sizes)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["bench", *options])
    assert ended.value.code == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert "interrupted" in line
    assert "nothing was written" in line
    assert asked == [sizes]


def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_measured(
    tiny: Sizes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "results"
    refusal(lambda: bench.run(tiny, folder=folder), folder, "cannot be written")


@pytest.mark.parametrize(
    ("package", "measure"),
    [
        (peers.QUANTIZER, bench.quantizer),
        (peers.TRAINER, bench.package),
        (peers.TRAINER, bench.samples),
    ],
)
def test_a_row_of_a_missing_package_says_how_to_install_it(
    tiny: Sizes,
    few_photos: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    measure: Callable[[Sizes, Images, Path], list[Row]],
) -> None:
    monkeypatch.setattr(peers, "installed_version", lambda _package: None)
    (row,) = measure(tiny, few_photos, tmp_path)
    assert row.vqlib is None
    assert package in row.how
    assert peers.INSTALL in row.how


def test_only_installed_packages_have_a_version() -> None:
    assert peers.installed_version("no-such-package") is None
    assert peers.installed_version("torch") == torch.__version__.split("+")[0]


def test_without_a_gpu_the_row_says_so(
    tiny: Sizes, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (row,) = bench.gpu(tiny, few_photos, tmp_path)
    assert row.vqlib is None
    assert "no GPU" in row.how


def test_ssim_equals_that_of_the_loop_over_scikit_image(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    (row,) = bench.similarity(tiny, few_photos, tmp_path)
    difference = float(row.how.split("largest difference ")[1])
    assert difference < 1e-6


def test_the_quick_bench_leaves_out_the_time_to_quality(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    (row,) = bench.quality(replace(tiny, quality_epochs=0), few_photos, tmp_path)
    assert row.vqlib is None
    assert "not measured" in row.how


@pytest.mark.parametrize(("quality", "is_reached"), [(1e9, True), (0.0, False)])
def test_training_is_timed_if_it_reaches_the_quality(
    tiny: Sizes,
    few_photos: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quality: float,
    is_reached: bool,
) -> None:
    monkeypatch.setattr(bench, "QUALITY", quality)
    (row,) = bench.quality(tiny, few_photos, tmp_path)
    assert [value is not None for value in (row.vqlib, row.other)] == [is_reached] * 2
    assert ("more than" in row.how) == (not is_reached)


def test_vqlib_s_loop_trains_an_epoch_at_a_time(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    loop = OwnLoop(tiny.config, few_photos, tmp_path / "run")
    assert loop.train_epoch() > 0
    assert loop.rate() > 0
    assert len(loop.trainer.history) == 2


def test_a_linear_layer_takes_four_operations_per_weight_and_image() -> None:
    # two in the forward pass (multiply and add), and two for the gradient of the weight

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, 5, bias=False)

        def loss(self, x: Tensor) -> dict[str, Tensor]:
            return {"loss": self.layer(x.flatten(1)).sum()}

    assert flops_per_image(Linear()) == 4 * 3 * 32 * 32 * 5


def test_samples_are_taken_in_turn_after_one_to_warm_up() -> None:
    taken: list[str] = []

    def sample(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    values = interleave(2, {"a": lambda: sample("a"), "b": lambda: sample("b")})
    assert taken == ["a", "b"] * 3
    assert values == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


# --- the table -------------------------------------------------------------------------------


def test_the_ratio_says_how_many_times_as_fast_vqlib_is() -> None:
    by_rate = compare("a", RATE, [200.0, 300.0, 400.0], [100.0] * 3, "b", "")
    by_time = compare("a", "s", [1.0, 2.0, 4.0], [4.0] * 3, "b", "")
    assert by_rate.ratios == (2.0, 3.0, 4.0)
    assert by_time.ratios == (4.0, 2.0, 1.0)
    assert (by_rate.vqlib, by_rate.other) == (300.0, 100.0)


ROWS = [
    compare("training", RATE, [1060.4, 1000.0], [500.0, 500.0], "plain loop", "twice"),
    Row("GPU", "no GPU here"),
]


def test_the_table_has_a_line_for_each_row_with_a_dash_for_what_was_not_measured() -> None:
    shown = table(ROWS, MACHINE)
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    _, _, training, gpu = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert training == [
        "training", "1,030 img/s", "500 img/s", "plain loop", "2.06 (2.00–2.12)", "twice",
    ]  # fmt: skip
    assert gpu == ["GPU", "–", "–", "", "–", "no GPU here"]
    assert MACHINE["processor"] in shown


def test_a_stored_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    as_json, as_markdown = store(tmp_path, "tiny", ROWS, MACHINE)
    assert (as_json.name, as_markdown.name) == (f"tiny-{STEM}.json", f"tiny-{STEM}.md")
    assert load(as_json) == (ROWS, MACHINE)


def test_other_ways_leave_the_step_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "IMAGES", 16)
    with ways.small_trainer(8) as trainer:
        pieces = nn.Conv2d.forward, nn.ReLU.forward, VectorQuantizer.nearest, trainer.optimizer.step
        for way in ways.WAYS.values():
            if way is not ways.compiled:  # which takes a compiler
                assert ways.step_time(trainer, way) > 0
        now = nn.Conv2d.forward, nn.ReLU.forward, VectorQuantizer.nearest, trainer.optimizer.step
        assert now == pieces
        assert trainer.step(torch.arange(8))["loss"].isfinite()


@pytest.mark.parametrize("way", quality.WAYS)
def test_each_way_trains(
    way: str, tiny: Sizes, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "FULL", tiny)
    pixels = store_pixels(few_photos, tmp_path)
    assert quality.epochs_until(1e9, way, 0, pixels) == 1


@pytest.mark.parametrize(("most", "epochs"), [(3, 3), (2, None)])
def test_epochs_are_counted_until_the_error_is_low(
    few_photos: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    epochs: int | None,
) -> None:
    errors = iter([0.3, 0.2, 0.1])
    monkeypatch.setitem(quality.WAYS, "vqlib", lambda *_: partial(next, errors))
    monkeypatch.setattr(quality, "MOST", most)
    pixels = store_pixels(few_photos, tmp_path)
    assert quality.epochs_until(0.1, "vqlib", 0, pixels) == epochs


def model_of(epoch: Any) -> tuple[VQVAE, VectorQuantizer]:
    """Return the model and the quantizer of the loop whose epochs this function trains."""
    found = [cell.cell_contents for cell in epoch.__closure__]
    (loop,) = [each for each in found if isinstance(each, OwnLoop)]
    model = cast(VQVAE, loop.trainer.model)
    return model, cast(VectorQuantizer, model.quantizer)


def test_a_codebook_can_start_from_the_data(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    epoch = quality.from_data(tiny.config, few_photos, tmp_path / "run")
    model, quantizer = model_of(epoch)
    z_e = model.encode(few_photos.train).detach()
    vectors = z_e.permute(0, 2, 3, 1).reshape(-1, tiny.config.embedding_dim)
    differences = (quantizer.codebook[:, None] - vectors).abs().amax(2)  # of each code and vector
    assert differences.amin(1).max() < 1e-5
    assert torch.equal(quantizer.ema_sums, quantizer.codebook)


def test_a_codebook_can_follow_faster_in_the_first_epoch(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    epoch = quality.faster_at_first(tiny.config, few_photos, tmp_path / "run")
    _, quantizer = model_of(epoch)
    decays = [quantizer.decay for _ in range(2) if epoch() > 0]
    assert decays == [0.9, tiny.config.decay]


def test_the_table_of_epochs_has_every_way_and_seed(
    tiny: Sizes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = {0: 4, 1: 5, 2: None}
    photos = replace(tiny, config=replace(tiny.config, dataset="photos"))
    monkeypatch.setattr(quality, "FULL", photos)
    monkeypatch.setattr(quality, "epochs_until", lambda _quality, _way, seed, _: epochs[seed])
    monkeypatch.setattr(quality, "ProcessPoolExecutor", lambda count, _: ThreadPoolExecutor(count))
    quality.run(tmp_path)
    (as_json,) = tmp_path.glob("quality-*.json")
    rows, machine = load(as_json)
    assert [(row.what, row.vqlib) for row in rows] == [
        (f"{way}, seed {seed}", epochs[seed]) for way in quality.WAYS for seed in quality.SEEDS
    ]
    for row in rows:
        assert (f"more than {quality.MOST}" in row.how) == (row.vqlib is None)
    assert machine["data"] == "photos"


def stored_epochs(folder: Path, epochs: dict[str, list[int | None]]) -> str:
    """Return the section on epochs at 1,000 images per second, and 500 by the plain loop."""
    what = training_row(QUALITY_BATCH)
    speeds = {"2 processes of one thread": 1500.0, "one process of 2 threads": 1000.0}
    full = [
        compare(f"{what}, {how}", RATE, [own], [500.0], PLAIN, "") for how, own in speeds.items()
    ]
    store(folder, "full", full, MACHINE)
    epochs = {way: [8, 5, None] for way in quality.WAYS} | epochs
    rows = [
        quality.epochs_row(way, seed, number)
        for way, numbers in epochs.items()
        for seed, number in zip(quality.SEEDS, numbers, strict=True)
    ]
    store(folder, "quality", rows, MACHINE)
    return quality.section(STEM, folder)


def test_epochs_become_seconds_at_the_speeds_of_the_full_table(tmp_path: Path) -> None:
    page = stored_epochs(tmp_path, {"vqlib": [5, 4, 9]})
    assert re.search(r"\| vqlib +\| +5 \| +4 \| +9 \| +5 \|", page)
    assert re.search(rf"\| plain loop +\| +8 \| +5 \| +more than {quality.MOST} \| +8 \|", page)
    assert "vqlib 250 s and the plain loop 800 s" in page
    assert "a ratio of 3.2" in page


def test_a_median_that_was_not_reached_has_no_seconds(tmp_path: Path) -> None:
    page = stored_epochs(tmp_path, {"plain loop": [None, 5, None]})
    assert page.count(f"more than {quality.MOST} |") == 3 + len(quality.WAYS) - 1
    assert "ratio" not in page


def test_the_page_shows_every_row_and_how_long_both_measurements_took(tmp_path: Path) -> None:
    store(tmp_path, "full", ROWS, MACHINE)
    store(tmp_path, "quick", ROWS, {**MACHINE, "minutes": 1.7})
    page = section(STEM, tmp_path)
    assert all(row.what in page for row in ROWS)
    assert "26 minutes" in page
    assert re.search(r"--quick\D* 2\b", page)


@pytest.mark.parametrize("name", ["full", "quick", "ways", "quality"])
def test_a_published_table_is_the_same_as_json_and_as_markdown(name: str) -> None:
    path = RESULTS / f"{name}-{PUBLISHED}.json"
    assert table(*load(path)) == path.with_suffix(".md").read_text(encoding="utf-8")
