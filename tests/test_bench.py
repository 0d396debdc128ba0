"""The benchmark: its table, and the plain loop that it measures against."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vqlib import VQVAE, Images, TrainConfig, UserError
from vqlib.bench import measure as bench
from vqlib.bench import peers
from vqlib.bench.baseline import Pictures, PlainLoop, plain_loss, plain_model
from vqlib.bench.loops import OwnLoop, interleave
from vqlib.bench.measure import FULL, MEASUREMENTS, QUICK, Sizes
from vqlib.bench.table import RATE, Row, compare, table
from vqlib.cli import main
from vqlib.images import scale
from vqlib.runs import build_model

CONFIG = TrainConfig(model="vqvae")
MACHINE = {"processor": "Some CPU (R)", "cores": 2, "gpu": "no GPU"}


@pytest.fixture(scope="module")
def tiny() -> Sizes:
    config = TrainConfig(
        model="vqvae", num_hiddens=8, num_residual_hiddens=4, num_residual_layers=1,
        num_embeddings=16, embedding_dim=4, batch_size=8,
    )  # fmt: skip
    return Sizes("tiny", 2, 16, 12, 6, 8, 16, 1, config)


# --- the plain loop --------------------------------------------------------------------------


def same_models(images: Images) -> tuple[VQVAE, VQVAE]:
    """vqlib's own as it is trained, and the plain one, with equal weights and codebooks."""
    own, plain = (make(CONFIG, images.variance) for make in (build_model, plain_model))
    plain.load_state_dict(own.state_dict())
    return own.to(memory_format=torch.channels_last).train(), plain.train()


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    """Of all parameters, as one vector."""
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def relative_difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def test_own_loss_and_gradients_equal_the_plain_loop_s(few_photos: Images) -> None:
    own, plain = same_models(few_photos)
    x = scale(few_photos.train[:16])
    own_loss, loss = own.loss(x)["loss"], plain_loss(plain, x - 0.5)
    torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=0)
    assert relative_difference(gradient(own, own_loss), gradient(plain, loss)) < 1e-4
    torch.testing.assert_close(own.quantizer.codebook, plain.quantizer.codebook)


def test_in_bfloat16_they_are_nearly_equal(few_photos: Images) -> None:
    """The loss within 1%, the gradients within 5% of their length."""
    own, plain = same_models(few_photos)
    x = scale(few_photos.train[:16])
    with torch.autocast("cpu", torch.bfloat16):
        own_loss = own.loss(x)["loss"]
    loss = plain_loss(plain, x - 0.5)
    torch.testing.assert_close(own_loss, loss, rtol=0.01, atol=0)
    assert relative_difference(gradient(own, own_loss), gradient(plain, loss)) < 0.05


def test_plain_loop_sees_every_image_once_an_epoch(few_photos: Images) -> None:
    seen = torch.cat(list(PlainLoop(CONFIG, few_photos).loader))
    expected = scale(few_photos.train) - 0.5
    assert seen.shape == expected.shape
    torch.testing.assert_close(
        seen.sum((1, 2, 3)).sort().values, expected.sum((1, 2, 3)).sort().values
    )


def test_its_pictures_are_vqlib_s_images(few_photos: Images) -> None:
    pictures = Pictures(few_photos.train)
    torch.testing.assert_close(pictures[7], scale(few_photos.train)[7] - 0.5)


def test_plain_loop_learns(tiny: Sizes, few_photos: Images) -> None:
    loop = PlainLoop(tiny.config, few_photos)
    means = [loop.train_epoch() for _ in range(4)]
    assert means[-1]["loss"] < means[0]["loss"]
    assert 1 <= means[0]["perplexity"] <= tiny.config.num_embeddings


# --- the measurements ------------------------------------------------------------------------


def test_bench_prints_and_writes_one_table(
    tiny: Sizes, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench.run(tiny, str(picture_folder), tmp_path)
    said = capsys.readouterr().out
    as_json, as_markdown = sorted(tmp_path.iterdir())
    stored = json.loads(as_json.read_text())
    assert as_markdown.read_text() in said
    assert [row["what"] for row in stored["rows"]] == [row.what for row in rows]
    for fact in ("processor", "cores", "threads", "torch", "python", "data", "git_commit"):
        assert stored["machine"][fact]
    for place, title in enumerate(MEASUREMENTS, start=1):
        assert f"{place}/{len(MEASUREMENTS)} {title}" in said
    for row in rows:
        measured = row.vqlib is not None and row.vqlib > 0
        assert measured or row.how.startswith(("not measured", "tested after")), row.what


@pytest.mark.parametrize(("options", "sizes"), [(["--quick"], QUICK), ([], FULL)])
def test_interrupted_bench_says_that_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sizes: Sizes,
) -> None:
    asked = []

    def interrupt(sizes: Sizes) -> None:
        asked.append(sizes)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["bench", *options])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "vqlib: interrupted; nothing was written\n"
    assert asked == [sizes]


def test_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tiny: Sizes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        bench.run(tiny, folder=tmp_path / "file" / "results")


@pytest.mark.parametrize("package", [peers.QUANTIZER, peers.TRAINER])
def test_missing_package_is_told_with_how_to_install_it(
    tiny: Sizes, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(peers, "installed_version", lambda _package: None)
    measure = {peers.QUANTIZER: bench.quantizer, peers.TRAINER: bench.package}[package]
    (row,) = measure(tiny, few_photos, tmp_path)
    assert row.vqlib is None
    assert f"{package} is not installed" in row.how
    assert 'pip install --editable ".[bench]"' in row.how


def test_package_that_does_not_exist_has_no_version() -> None:
    assert peers.installed_version("no-such-package") is None
    assert peers.installed_version("torch") == torch.__version__.split("+")[0]


def test_absent_gpu_is_told(
    tiny: Sizes, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (row,) = bench.gpu(tiny, few_photos, tmp_path)
    assert (row.vqlib, row.how) == (None, "not measured: no GPU here")


def test_ssim_equals_the_loop_it_is_measured_against(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    (row,) = bench.similarity(tiny, few_photos, tmp_path)
    difference = float(row.how.split("largest difference ")[1])
    assert difference < 1e-6


def test_quick_bench_leaves_time_to_quality_out(
    tiny: Sizes, few_photos: Images, tmp_path: Path
) -> None:
    (row,) = bench.quality(replace(tiny, quality_epochs=0), few_photos, tmp_path)
    assert row.vqlib is None
    assert "full bench" in row.how


def test_quality_that_is_reached_is_timed(
    tiny: Sizes, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "QUALITY", 1e9)
    (row,) = bench.quality(tiny, few_photos, tmp_path)
    assert row.vqlib > 0
    assert row.other > 0
    assert "vqlib took 1 epochs, the plain loop 1" in row.how


def test_own_loop_trains_on(tiny: Sizes, few_photos: Images, tmp_path: Path) -> None:
    loop = OwnLoop(tiny.config, few_photos, tmp_path / "run")
    assert loop.train_epoch() > 0
    assert loop.rate() > 0
    assert len(loop.trainer.history) == 2


def test_samples_are_taken_in_turn_after_one_to_warm_up() -> None:
    taken = []

    def sample(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    values = interleave(2, {"a": lambda: sample("a"), "b": lambda: sample("b")})
    assert taken == ["a", "b"] * 3
    assert values == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


# --- the table -------------------------------------------------------------------------------


def test_ratio_says_how_many_times_as_fast_vqlib_is() -> None:
    by_rate = compare("a", RATE, [200.0, 300.0, 400.0], [100.0] * 3, "b", "")
    by_time = compare("a", "s", [1.0, 2.0, 4.0], [4.0] * 3, "b", "")
    assert by_rate.ratios == (2.0, 3.0, 4.0)
    assert by_time.ratios == (4.0, 2.0, 1.0)
    assert (by_rate.vqlib, by_rate.other) == (300.0, 100.0)


def test_table_has_a_line_a_row_and_says_what_was_not_measured() -> None:
    rows = [
        compare("training", RATE, [1060.4, 1000.0], [500.0, 500.0], "plain loop", "twice"),
        Row("GPU", "no GPU here"),
    ]
    lines = [line for line in table(rows, MACHINE).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    assert cells[2][:5] == [
        "training", "1,030 img/s", "500 img/s", "plain loop", "2.06 (2.00–2.12)",
    ]  # fmt: skip
    assert cells[3] == ["GPU", "–", "–", "", "–", "no GPU here"]
    assert "Some CPU (R)" in table(rows, MACHINE)
