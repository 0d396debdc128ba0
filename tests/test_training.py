"""Training: it learns, it can be repeated, and it can be interrupted anywhere."""

import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeConfig, refusal
from faults import flip_a_bit
from torch import Tensor, nn

import vqlib.evaluation
import vqlib.training
from vqlib import VQVAE, Images, Run, TrainConfig, evaluate, fit
from vqlib.models import MODELS, build_model
from vqlib.quantizer import COLLAPSED
from vqlib.study.presets import NOTEBOOKS
from vqlib.system.checkpoint import read_state

Output = pytest.CaptureFixture[str]


def wrap_loss(
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    wrapper: Callable[[int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None],
) -> None:
    """Call `wrapper(step, x, terms)` after each computation of the loss, with steps from 1."""
    loss, calls = MODELS[model].loss, iter(range(1, 10**6))

    def wrapped(self: nn.Module, x: Tensor) -> dict[str, Tensor]:
        step, terms = next(calls), loss(self, x)
        return wrapper(step, x, terms) or terms

    monkeypatch.setattr(MODELS[model], "loss", wrapped)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, model: str, step: int) -> None:
    """Press Ctrl-C in a step."""

    def interrupt(current: int, _x: Tensor, _terms: dict[str, Tensor]) -> None:
        if current == step:
            raise KeyboardInterrupt

    wrap_loss(monkeypatch, model, interrupt)


def assert_same_run(run: Run, other: Run) -> None:
    """Compare two runs bit for bit, but for the time they took."""
    weights, others = run.model.state_dict(), other.model.state_dict()
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    assert run.evaluation == other.evaluation
    pd.testing.assert_frame_equal(
        run.history.drop(columns="seconds"), other.history.drop(columns="seconds"), rtol=0, atol=0
    )


# --- it learns -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_training_reduces_the_error(
    photos: Images, small_config: MakeConfig, tmp_path: Path, model: str
) -> None:
    # below half of what an image of the mean colour has (1), and below an untrained model's
    images = Images("photos", photos.train[:512], photos.test[:64])
    values = {"epochs": 5, "batch_size": 16, "learning_rate": 2e-3}
    if model == "vqvae":
        values.update(num_hiddens=32, num_residual_hiddens=16)
    config = small_config(model, **values)
    untrained = evaluate(build_model(config, images.variance), images.test, images.variance)
    trained = fit(config, images, tmp_path)
    assert trained.evaluation["test_nmse"] < 0.5
    assert trained.evaluation["test_nmse"] < untrained["test_nmse"]
    assert trained.evaluation["test_ssim"] > untrained["test_ssim"]
    assert trained.history["loss"].iloc[-1] < trained.history["loss"].iloc[0]


def test_a_third_model_is_trained_stored_and_evaluated_like_the_others(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, autoencoder: str
) -> None:
    run = fit(small_config(autoencoder, latent_dim=4), few_photos, tmp_path)
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert run.terms == ["loss"]
    assert run.bits == 32 * 4
    assert run.evaluation["perplexity"] is None
    assert evaluate(run.model, few_photos.test, few_photos.variance) == run.evaluation


# --- it can be repeated ----------------------------------------------------------------------


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_the_same_seed_gives_the_same_run(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    model: str,
) -> None:
    torch.manual_seed(12345)  # whatever the caller's random state
    assert_same_run(fit(small_config(model), few_photos, tmp_path), small_runs[model])


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_another_seed_gives_another_run(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    model: str,
) -> None:
    other = fit(small_config(model, seed=1, epochs=1), few_photos, tmp_path)
    for name, value in small_runs[model].model.named_parameters():
        assert not torch.equal(value, other.model.get_parameter(name)), name
    assert other.history["loss"][0] != small_runs[model].history["loss"][0]


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_the_caller_s_random_state_is_left_alone(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, model: str
) -> None:
    torch.manual_seed(7)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run = fit(small_config(model, epochs=1), few_photos, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    _ = run.model  # reading it back is as silent
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


# --- every image, every epoch ----------------------------------------------------------------


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_every_image_is_seen_once_an_epoch_in_a_new_order(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    # the last batch, of 4 images while the others have 32, is used as well
    batches: list[Tensor] = []
    wrap_loss(monkeypatch, model, lambda _step, x, _terms: batches.append(x.clone()))
    run = fit(small_config(model), few_photos, tmp_path)

    assert [len(x) for x in batches] == 3 * [32, 32, 32, 4]
    assert run.history["steps"].tolist() == [4, 8, 12]
    epochs = [
        [image.numpy().tobytes() for image in torch.cat(batches[start : start + 4])]
        for start in (0, 4, 8)
    ]
    expected = sorted(image.numpy().tobytes() for image in few_photos.train)
    assert [sorted(epoch) for epoch in epochs] == [expected] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_batch_larger_than_the_data_is_one_step(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    run = fit(small_config("vqvae", batch_size=1000, epochs=2), few_photos, tmp_path)
    assert run.history["steps"].tolist() == [1, 2]


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_the_history_holds_the_means_over_the_images(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    # not over the steps: an image in the small last batch weighs as much as any other
    seen: list[tuple[int, dict[str, float]]] = []

    def record(_step: int, x: Tensor, terms: dict[str, Tensor]) -> None:
        seen.append((len(x), {name: value.item() for name, value in terms.items()}))

    wrap_loss(monkeypatch, model, record)
    history = fit(small_config(model, epochs=2), few_photos, tmp_path).history
    assert len(history) == 2
    for epoch, steps in enumerate((seen[:4], seen[4:])):
        weights = [images for images, _terms in steps]
        for name in steps[0][1]:
            values = [terms[name] for _images, terms in steps]
            expected = np.average(values, weights=weights)
            assert abs(expected / np.mean(values) - 1) > 1e-5  # the two means can be told apart
            assert history[name][epoch] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_the_history_has_loss_terms_and_test_figures_of_each_epoch(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    terms = run.model.loss(few_photos.test[:2])
    assert list(run.history) == [
        *("epoch", "steps", "seconds"),
        *terms,
        *run.model.test_figures(few_photos.test[:2]),
    ]
    assert run.history["epoch"].tolist() == [1, 2, 3]
    assert run.history["steps"].tolist() == [4, 8, 12]
    assert (run.history["seconds"] > 0).all()


def test_a_vae_has_no_codebook_to_collapse(small_runs: dict[str, Run]) -> None:
    history = small_runs["vae"].history
    assert history[["perplexity", "codes_used", "collapsed"]].isna().all(axis=None)


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_the_last_epoch_s_test_error_is_that_of_the_trained_model(
    small_runs: dict[str, Run], model: str
) -> None:
    run = small_runs[model]  # but for the float16 in which its weights are stored
    assert run.history["test_nmse"].iloc[-1] == pytest.approx(run.evaluation["test_nmse"], rel=1e-3)


@pytest.mark.faults
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
    small_config: MakeConfig,
    tmp_path: Path,
    capsys: Output,
    model: str,
    values: dict[str, float],
    count: int,
) -> None:
    # one image, K = 1, D = 1, batches that do not divide the data or that are larger than it
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


# --- it can be interrupted -------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("model", NOTEBOOKS)
@pytest.mark.parametrize("step", [3, 5, 12], ids=["epoch 1", "epoch 2", "last step"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    model: str,
    step: int,
) -> None:
    config = small_config(model)
    with monkeypatch.context() as patched:
        interrupt_at(patched, model, step)
        with pytest.raises(KeyboardInterrupt):
            fit(config, few_photos, tmp_path)
    capsys.readouterr()
    finished = (step - 1) // 4
    resumed = fit(config, few_photos, tmp_path)
    printed = capsys.readouterr().out
    assert (f"resumed after epoch {finished}" in printed) == (finished > 0)
    assert_same_run(resumed, small_runs[model])


@pytest.mark.faults
def test_an_interrupted_training_says_how_to_go_on(
    small_config: MakeConfig, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("vae")
    for step, facts in ((2, ("epoch 0 of 3", "start again")), (6, ("epoch 1 of 3", "resume"))):
        with monkeypatch.context() as patched:
            interrupt_at(patched, "vae", step)
            with pytest.raises(KeyboardInterrupt) as stopped:
                fit(config, few_photos, tmp_path)
        assert all(fact in str(stopped.value) for fact in facts)


@pytest.mark.faults
def test_interrupted_before_its_evaluation_a_run_trains_no_step_again(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config("vqvae")

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(vqlib.training, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(config, few_photos, tmp_path)
    steps: list[int] = []
    wrap_loss(monkeypatch, "vqvae", lambda step, _x, _terms: steps.append(step))
    assert_same_run(fit(config, few_photos, tmp_path), small_runs["vqvae"])
    assert steps == []


@pytest.mark.faults
@pytest.mark.parametrize("damaged", [1, 2], ids=["last state", "both states"])
def test_a_damaged_state_costs_an_epoch_not_the_run(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    damaged: int,
) -> None:
    config = small_config("vqvae")
    with monkeypatch.context() as patched:
        interrupt_at(patched, "vqvae", 10)
        with pytest.raises(KeyboardInterrupt):
            fit(config, few_photos, tmp_path)
    for name in ("resume.pt", "resume.previous")[:damaged]:
        flip_a_bit(tmp_path / config.run_name / name)
    capsys.readouterr()
    resumed = fit(config, few_photos, tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("is damaged") == damaged
    assert ("resumed after epoch 1" in printed) == (damaged == 1)
    assert_same_run(resumed, small_runs["vqvae"])


@pytest.mark.faults
def test_a_run_begun_with_other_images_is_refused(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("vqvae")
    with monkeypatch.context() as patched:
        interrupt_at(patched, "vqvae", 5)
        with pytest.raises(KeyboardInterrupt):
            fit(config, few_photos, tmp_path)
    others = Images("photos", few_photos.train.flip(3), few_photos.test)
    refusal(lambda: fit(config, others, tmp_path), config.run_name, "other images")


# --- what is there already -------------------------------------------------------------------


def test_a_finished_run_is_not_trained_again(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    run = small_runs["vae"]
    monkeypatch.setattr(MODELS["vae"], "loss", None)
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    again = fit(small_config("vae"), few_photos, run.folder.parent)
    assert again.folder == run.folder
    assert "finished, read from" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.folder.iterdir()} == before


@pytest.fixture
def shipped(small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ship a VAE with the project, and return it."""
    folder = small_runs["vae"].folder
    shutil.copytree(folder, tmp_path / "shipped" / folder.name)
    monkeypatch.setattr(vqlib.training, "SHIPPED", tmp_path / "shipped")
    return small_runs["vae"]


def test_a_shipped_run_is_found(
    shipped: Run, few_photos: Images, tmp_path: Path, capsys: Output
) -> None:
    run = fit(shipped.config, few_photos, tmp_path / "mine")
    assert run.folder == tmp_path / "shipped" / shipped.config.run_name
    assert "finished, read from" in capsys.readouterr().out
    assert not (tmp_path / "mine").exists()
    assert_same_run(run, shipped)


def test_a_shipped_run_is_trained_again_on_demand(
    shipped: Run, few_photos: Images, tmp_path: Path, capsys: Output
) -> None:
    run = fit(shipped.config, few_photos, tmp_path / "mine", retrain=True)
    assert run.folder == tmp_path / "mine" / shipped.config.run_name
    assert "training on" in capsys.readouterr().out
    assert_same_run(run, shipped)


def test_a_run_shipped_without_weights_is_trained(
    shipped: Run, few_photos: Images, tmp_path: Path
) -> None:
    (tmp_path / "shipped" / shipped.config.run_name / "weights.safetensors").unlink()
    run = fit(shipped.config, few_photos, tmp_path / "mine")
    assert run.folder == tmp_path / "mine" / shipped.config.run_name
    assert run.model


def test_a_shipped_run_of_another_config_is_not_taken(
    shipped: Run, few_photos: Images, tmp_path: Path
) -> None:
    # if its folder is misnamed, the config in it tells
    wanted = TrainConfig.from_dict({**shipped.config.to_dict(), "epochs": 1})
    (tmp_path / "shipped" / shipped.config.run_name).rename(tmp_path / "shipped" / wanted.run_name)
    run = fit(wanted, few_photos, tmp_path / "mine")
    assert run.folder == tmp_path / "mine" / wanted.run_name
    assert len(run.history) == 1


@pytest.mark.faults
def test_a_folder_of_another_config_is_refused(
    small_runs: dict[str, Run], few_photos: Images, tmp_path: Path
) -> None:
    wanted = TrainConfig.from_dict({**small_runs["vae"].config.to_dict(), "beta": 0.5})
    folder = tmp_path / wanted.run_name
    shutil.copytree(small_runs["vae"].folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refusal(lambda: fit(wanted, few_photos, tmp_path), folder, "beta 1.0 there, 0.5 here")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- what cannot be trained ------------------------------------------------------------------


@pytest.mark.faults
def test_images_of_another_data_set_than_the_config_s_are_refused(
    few_photos: Images, tmp_path: Path
) -> None:
    refusal(lambda: fit(TrainConfig(seed=12345), few_photos, tmp_path), "'photos'", "'cifar10'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_images_of_another_limit_than_the_config_s_are_refused(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("vae", limit=64)
    limited = Images("photos", few_photos.train[:32], few_photos.test[:32], limit=32)
    refusal(lambda: fit(config, limited, tmp_path), "limit 32", "limit 64")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_a_process_of_a_study_trains_no_other_run_than_it_was_asked_for(
    small_config: MakeConfig, few_photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, asked = small_config("vae", limit=128), small_config("vae")
    monkeypatch.setenv("VQLIB_ASKED", json.dumps(asked.to_dict()))
    refusal(lambda: fit(config, results=tmp_path), "limit None there, 128 here")
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_images_all_alike_are_refused(small_config: MakeConfig, tmp_path: Path) -> None:
    grey = torch.full((10, 3, 32, 32), 7, dtype=torch.uint8)
    images = Images("photos", grey, grey)
    refusal(
        lambda: fit(small_config("vae"), images, tmp_path), "photos", "there is nothing to learn"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_an_unknown_device_is_refused_with_the_known_ones(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    ask = partial(fit, small_config("vae"), few_photos, tmp_path, device="tpu")
    refusal(ask, "unknown device 'tpu'", "auto", "cpu", "cuda")


@pytest.mark.faults
def test_an_absent_gpu_is_told(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refusal(partial(fit, small_config("vae"), few_photos, tmp_path, device="cuda"), "no GPU")


# --- losses and codebooks that go wrong ------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("model", NOTEBOOKS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_epoch_step_and_the_last_good_state(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    value: float,
) -> None:
    config = small_config(model)
    state = tmp_path / config.run_name / "resume.pt"

    def break_from(step: int, _x: Tensor, terms: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return {**terms, "loss": terms["loss"] * value} if step >= 11 else None

    with monkeypatch.context() as patched:
        wrap_loss(patched, model, break_from)
        facts = (config.run_name, "epoch 3, step 3;", f"{state} holds", "epoch 2.", "learning rate")
        refusal(lambda: fit(config, few_photos, tmp_path), *facts)
    kept = read_state(state)
    assert kept is not None
    assert len(kept["history"]) == 2
    resumed = fit(config, few_photos, tmp_path)
    assert np.isfinite(resumed.history["loss"]).all()


@pytest.mark.faults
@pytest.mark.parametrize("model", NOTEBOOKS)
def test_a_learning_rate_far_too_high_is_told_in_the_first_epoch(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, model: str
) -> None:
    config = small_config(model, learning_rate=1e20)
    facts = (config.run_name, "epoch 1, step", "lower learning rate")
    assert "resume.pt" not in refusal(lambda: fit(config, few_photos, tmp_path), *facts)


@pytest.mark.faults
@pytest.mark.parametrize("model", NOTEBOOKS)
def test_a_model_broken_by_the_last_step_of_an_epoch_is_told(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, model: str
) -> None:
    # the loss, computed before that step, is still finite; the test error is not
    config = small_config(model, learning_rate=1e30, batch_size=100, epochs=1)
    facts = (config.run_name, "epoch 1", "step 1", "lower learning rate")
    refusal(lambda: fit(config, few_photos, tmp_path), *facts)
    assert not (tmp_path / config.run_name / "resume.pt").exists()  # nothing to resume from


@pytest.mark.faults
def test_a_collapsed_codebook_is_told_while_training_in_the_history_and_ever_after(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    config, epochs = small_config("vqvae"), iter(range(1, 10**6))
    scattered = torch.arange(64).view(8, 8) % 32

    def collapsing(_model: VQVAE, x: Tensor) -> Tensor:
        one = next(epochs) == 2  # all images get the same code in the second epoch
        return (0 if one else 1) * scattered.expand(len(x), 8, 8)

    with monkeypatch.context() as patched:
        patched.setattr(VQVAE, "codes", collapsing)
        run = fit(config, few_photos, tmp_path)
    assert run.history["collapsed"].tolist() == [False, True, False]
    during = capsys.readouterr().out
    fit(config, few_photos, tmp_path)
    for printed in (during, capsys.readouterr().out):
        (line,) = [line for line in printed.splitlines() if line.startswith("WARNING")]
        for fact in (config.run_name, f"below {COLLAPSED}", "epoch 2:"):
            assert fact in line


# --- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", NOTEBOOKS)
def test_bfloat16_learns_what_float32_learns(
    few_photos: Images,
    small_config: MakeConfig,
    small_runs: dict[str, Run],
    tmp_path: Path,
    model: str,
) -> None:
    run = fit(small_config(model, precision="bfloat16"), few_photos, tmp_path)
    assert run.environment["precision"] == "bfloat16"
    expected = small_runs[model].history["reconstruction"]
    np.testing.assert_allclose(run.history["reconstruction"], expected, rtol=0.02)
    assert not run.history["reconstruction"].equals(expected)  # it was bfloat16
