"""Bad inputs and accidents: each is told in one line, and no number comes of it."""

import dataclasses
import errno
import hashlib
import os
import pickle
import shutil
import struct
import urllib.error
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refusal
from PIL import Image
from torch import Tensor, nn

from vqlib import (
    VAE,
    VQVAE,
    Images,
    Run,
    TrainConfig,
    evaluate,
    fit,
    load_images,
    load_run,
    ssim,
)
from vqlib.cli import main
from vqlib.documents.notebook import export_pdf, run_notebook
from vqlib.figures import metric_by_batch_size, save_figure
from vqlib.images import resolve_dataset
from vqlib.paths import ROOT
from vqlib.runs import evaluate_run, stored_weights
from vqlib.similarity import ssim_by_protocol
from vqlib.study import (
    Study,
)
from vqlib.system.checkpoint import read_state, write_state
from vqlib.system.files import sole_writer

pytestmark = pytest.mark.faults

MakeConfig = Callable[..., TrainConfig]


# --- pictures ------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer, picture = BytesIO(), Image.fromarray(PIXELS).convert(mode)
    if mode == "RGBA":
        picture.putalpha(128)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    return saved(kind, save_all=True, append_images=[Image.fromarray(255 - PIXELS)])


def png_of_16_bits() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in PIXELS.reshape(32, 96))

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def grey_png_of_16_bits() -> bytes:
    buffer = BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "animated.gif": (lambda: animated("GIF"), "is 2 pictures in one file, not RGB"),
    "animated.webp": (lambda: animated("WEBP"), "is 2 pictures in one file, not RGB"),
    "animated.png": (lambda: animated("PNG"), "is 2 pictures in one file, not RGB"),
    "pages.tif": (lambda: animated("TIFF"), "is 2 pictures in one file, not RGB"),
    "grey.jpg": (lambda: saved("JPEG", "L"), "is L, not RGB"),
    "print.jpg": (lambda: saved("JPEG", "CMYK"), "is CMYK, not RGB"),
    "alpha.png": (lambda: saved("PNG", "RGBA"), "is RGBA, not RGB"),
    "alpha.webp": (lambda: saved("WEBP", "RGBA"), "is RGBA, not RGB"),
    "see-through.png": (
        lambda: saved("PNG", transparency=(1, 2, 3)),
        "is RGB with transparency, not RGB",
    ),
    "palette.png": (lambda: saved("PNG", "P"), "is P, not RGB"),
    "deep.png": (png_of_16_bits, "is RGB of 16 bits, not RGB"),
    "deep-grey.png": (grey_png_of_16_bits, "is I;16, not RGB"),
    "other.jpg": (lambda: b"%PDF-1.7 and so on", "cannot be read as a picture"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_that_is_not_plain_rgb_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, said = PICTURES[name]
    for path, data in ((tmp_path / "0.png", saved("PNG")), (tmp_path / name, content())):
        path.write_bytes(data)
    message = refusal(lambda: load_images(str(tmp_path)))
    assert f"{tmp_path / name} {said}" in message


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [5, 32, 53])
def test_plain_rgb_is_taken_whatever_its_format_and_size(
    tmp_path: Path, kind: str, side: int
) -> None:
    for number in range(2):
        picture = Image.fromarray(PIXELS).resize((side, side))
        picture.save(tmp_path / f"{number}.{kind.lower()}")
    assert load_images(str(tmp_path)).train.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (torch.zeros(2, 3, 32, 32), r"uint8 (N, 3, 32, 32), got float32 (2, 3, 32, 32)"),
        (torch.zeros(2, 3, 28, 28, dtype=torch.uint8), "got uint8 (2, 3, 28, 28)"),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "got uint8 (2, 32, 32, 3)"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "got uint8 (3, 32, 32)"),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "got uint8 (0, 3, 32, 32)"),
    ],
)
def test_tensors_that_are_no_images_are_refused(train: Tensor, said: str) -> None:
    good = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert said in refusal(lambda: Images("mine", train, good))
    assert "mine: test images must be" in refusal(lambda: Images("mine", good, train))


def test_images_of_another_data_set_than_the_config_s_are_refused(
    few_photos: Images, tmp_path: Path
) -> None:
    message = refusal(lambda: fit(TrainConfig(seed=12345), few_photos, tmp_path))
    assert message.startswith("the images given are 'photos', the config asks for 'cifar10'")
    assert list(tmp_path.iterdir()) == []


def test_train_without_test_is_refused(tmp_path: Path) -> None:
    for split in ("Train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.png").write_bytes(saved("PNG"))
    message = refusal(lambda: load_images(str(tmp_path)))
    assert message == f"{tmp_path} has a folder train, but not both train and test"


def test_pictures_behind_a_link_to_a_folder_count(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "elsewhere" / f"{number}.png").write_bytes(saved("PNG"))
    (tmp_path / "pictures" / "link").symlink_to(tmp_path / "elsewhere")
    images = load_images(str(tmp_path / "pictures"))
    assert len(images.train) + len(images.test) == 3


def test_files_that_are_left_out_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png", "c.jfif", "notes.txt", "Makefile"):
        (tmp_path / name).write_bytes(saved("PNG"))
    load_images(str(tmp_path))
    told = f"{tmp_path}: left out what is not a picture: .jfif, .txt, Makefile\n"
    assert told in capsys.readouterr().out


def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    message = refusal(lambda: load_images(str(tmp_path)))
    assert message == f"{tmp_path / 'b'} cannot be read: Permission denied"


# --- CIFAR-10 ------------------------------------------------------------------------------


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """CIFAR-10 with two images a file; it counts how often an md5 is taken, and is downloaded."""
    from torchvision.datasets import CIFAR10, cifar

    files, seen = {}, SimpleNamespace(root=tmp_path, md5=0, stop_after=None)
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels = np.random.default_rng(number).integers(0, 256, (2, 3072), np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": [0, 1]})
    files["batches.meta"] = pickle.dumps({"label_names": ["a", "b"]})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    check = cifar.check_integrity

    def counted(path: str, md5: str) -> bool:
        seen.md5 += "batches.meta" not in path
        return check(path, md5)

    def download(self: CIFAR10) -> None:
        folder = Path(self.root, self.base_folder)
        folder.mkdir(exist_ok=True)
        for number, (name, content) in enumerate(files.items()):
            if number == seen.stop_after:
                (folder / name).write_bytes(content[:100])
                raise KeyboardInterrupt
            (folder / name).write_bytes(content)

    monkeypatch.setattr(cifar, "check_integrity", counted)
    monkeypatch.setattr(CIFAR10, "download", download)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    return seen


def test_md5_is_taken_once_a_process_and_again_where_a_file_changed(
    tiny_cifar10: SimpleNamespace,
) -> None:
    images = load_images("cifar10")
    assert (len(images.train), len(images.test)) == (10, 2)
    once = tiny_cifar10.md5
    assert once >= 6  # each file
    load_images("cifar10")
    assert tiny_cifar10.md5 == once

    path = tiny_cifar10.root / "cifar-10-batches-py" / "data_batch_2"
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content)
    load_images("cifar10")
    assert tiny_cifar10.md5 > once

    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1  # as long as before, and as old by its own account
    path.write_bytes(flipped)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    message = refusal(lambda: load_images("cifar10"))
    assert f"CIFAR-10 in {path.parent} is damaged or incomplete" in message
    assert "VQLIB_DATA" in message


def test_data_folder_that_is_one_too_deep_is_refused(
    tiny_cifar10: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images("cifar10")
    monkeypatch.setenv("VQLIB_DATA", str(tiny_cifar10.root / "cifar-10-batches-py"))
    assert "give the folder above" in refusal(lambda: load_images("cifar10"))


@pytest.mark.parametrize("files", [0, 3, 6])
def test_interrupted_download_leaves_nothing_under_the_data_s_name(
    tiny_cifar10: SimpleNamespace, files: int
) -> None:
    tiny_cifar10.stop_after = files
    with pytest.raises(KeyboardInterrupt):
        load_images("cifar10")
    assert not (tiny_cifar10.root / "cifar-10-batches-py").exists()
    tiny_cifar10.stop_after = None
    assert len(load_images("cifar10").train) == 10
    assert [path.name for path in tiny_cifar10.root.iterdir()] == ["cifar-10-batches-py"]


def test_of_two_downloads_at_once_one_is_refused_and_no_other_data_taken(
    tiny_cifar10: SimpleNamespace,
) -> None:
    with sole_writer(tiny_cifar10.root / ".download"):
        for ask in (lambda: load_images("cifar10"), lambda: resolve_dataset("auto")):
            assert f"is being written by another process (pid {os.getpid()} on" in refusal(ask)


# --- resume states -------------------------------------------------------------------------


class Malicious:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_no_pickle_of_a_run_folder_is_executed(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Even where its checksum is right."""
    config, proof = small_config("vae"), tmp_path / "executed"
    folder = tmp_path / config.run_name
    folder.mkdir()
    write_state(folder / "resume.pt", {"model": Malicious(proof)})
    message = refusal(lambda: fit(config, few_photos, tmp_path))
    assert f"{folder / 'resume.pt'} is no resume state of vqlib: delete it" in message
    assert not proof.exists()


def with_moment(optimizer: dict, moment: Tensor) -> dict:
    first, *others = optimizer["state"]
    kept = {number: optimizer["state"][number] for number in others}
    changed = {**optimizer["state"][first], "exp_avg": moment}
    return {**optimizer, "state": {first: changed, **kept}}


STATES: dict[str, tuple[Callable[[dict], dict], str]] = {
    "later format": (lambda s: {**s, "format": 2}, "has format 2, and this version of vqlib reads"),
    "no optimizer": (
        lambda s: {name: s[name] for name in s if name != "optimizer"},
        "is no resume state of vqlib: optimizer missing",
    ),
    "renamed weight": (
        lambda s: {**s, "model": {f"net.{name}": value for name, value in s["model"].items()}},
        "does not fit its config: encoder.0.weight is missing",
    ),
    "other shape": (
        lambda s: {**s, "model": {**s["model"], "encoder.0.bias": torch.zeros(5)}},
        "does not fit its config: encoder.0.bias is 5 and not 32",
    ),
    "not finite": (
        lambda s: {**s, "model": {n: v * torch.nan for n, v in s["model"].items()}},
        "is damaged: encoder.0.weight holds values that are not finite",
    ),
    "other optimizer": (
        lambda s: {**s, "optimizer": {"state": {}, "param_groups": []}},
        "does not fit its config: the optimizer's",
    ),
    "other moments": (
        lambda s: {**s, "optimizer": with_moment(s["optimizer"], torch.zeros(5))},
        "does not fit its config: the optimizer's exp_avg has shape (5,)",
    ),
    "other run": (
        lambda s: {**s, "config": {**s["config"], "seed": 7, "learning_rate": 0.1}},
        "is of another run: learning_rate 0.1 there, 0.0005 here; seed 7 there, 0 here",
    ),
    "other images": (lambda s: {**s, "data_md5": "0"}, "was begun with other images than photos"),
}


@pytest.fixture(scope="module")
def unfinished(
    few_photos: Images, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The results folder of a VAE that was interrupted after its first epoch."""
    results, calls = tmp_path_factory.mktemp("unfinished"), iter(range(10**6))
    loss = VAE.loss

    def interrupted(self: VAE, x: Tensor) -> dict[str, Tensor]:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return loss(self, x)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(VAE, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(small_config("vae"), few_photos, results)
    return results


@pytest.mark.parametrize("name", STATES)
def test_state_that_does_not_fit_is_refused_with_what_differs(
    unfinished: Path, few_photos: Images, small_config: MakeConfig, tmp_path: Path, name: str
) -> None:
    change, said = STATES[name]
    config = small_config("vae")
    folder = Path(shutil.copytree(unfinished / config.run_name, tmp_path / config.run_name))
    state = read_state(folder / "resume.pt")
    write_state(folder / "resume.pt", change(state))
    message = refusal(lambda: fit(config, few_photos, tmp_path))
    assert said in message
    assert str(folder) in message


def test_damaged_state_never_takes_the_place_of_the_good_one(tmp_path: Path) -> None:
    """Killed again before the next state is whole, the run still has the good one."""
    path = tmp_path / "resume.pt"
    for number in (1, 2):
        write_state(path, {"number": number})
    path.write_bytes(path.read_bytes()[:-1])
    assert read_state(path) == {"number": 1}
    assert read_state(path) == {"number": 1}
    write_state(path, {"number": 2})
    path.write_bytes(path.read_bytes()[:-1])
    assert read_state(path) == {"number": 1}


# --- numbers -------------------------------------------------------------------------------

GOOD = torch.full((2, 3, 32, 32), 0.5)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (GOOD, GOOD[:1], "got (2, 3, 32, 32) and (1, 3, 32, 32)"),
        (GOOD, GOOD.flatten(1), "got (2, 3, 32, 32) and (2, 3072)"),
        (GOOD[:0], GOOD[:0], "got (0, 3, 32, 32) and (0, 3, 32, 32)"),
        (GOOD, 255 * GOOD, "y has values from 127.5 to 127.5, outside [0, 1]"),
        (GOOD - 1, GOOD, "x has values from -0.5 to -0.5, outside [0, 1]"),
        (GOOD, GOOD * torch.nan, "y has values from nan to nan, outside [0, 1]"),
        (GOOD, GOOD * torch.inf, "y has values from inf to inf, outside [0, 1]"),
        (GOOD.numpy(), GOOD, "x must be a torch tensor, got ndarray"),
    ],
)
def test_metrics_refuse_what_gives_no_figure(x: Tensor, y: Tensor, said: str) -> None:
    for metric in (ssim, ssim_by_protocol):
        assert said in refusal(lambda metric=metric: metric(x, y))


@pytest.mark.parametrize("data_range", [0.0, -1.0, float("nan"), float("inf")])
def test_a_range_that_is_none_is_refused(data_range: float) -> None:
    message = refusal(lambda: ssim(GOOD, GOOD, data_range))
    assert message == f"data_range must be a finite number above 0, got {data_range:g}"


class Answering(nn.Module):
    """A model whose reconstructions are what it is told."""

    def __init__(self, answer: Callable[[Tensor], Tensor]):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.answer = answer

    def codes(self, x: Tensor) -> None:
        return None

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x * torch.nan, "y has values from nan to nan, outside [0, 1]"),
        (lambda x: x - 2, "outside [0, 1]"),
        (lambda x: 255 * x, "outside [0, 1]"),
        (lambda x: x[:1], "expected two batches (B, C, H, W) of one shape, got (4, 3, 32, 32)"),
        (lambda x: x[:, :1], "got (4, 3, 32, 32) and (4, 1, 32, 32)"),
    ],
)
def test_reconstructions_that_are_no_images_are_not_evaluated(
    few_photos: Images, answer: Callable[[Tensor], Tensor], said: str
) -> None:
    model = Answering(answer)
    assert said in refusal(lambda: evaluate(model, few_photos.test[:4], few_photos.variance))


@pytest.mark.parametrize(
    ("images", "variance", "said"),
    [
        (GOOD, 0.06, "test images must be uint8 (N, 3, 32, 32), got float32 (2, 3, 32, 32)"),
        (GOOD.byte()[:0], 0.06, "got uint8 (0, 3, 32, 32)"),
        (GOOD.byte()[..., :28], 0.06, "got uint8 (2, 3, 32, 28)"),
        (GOOD.byte(), 0.0, "data_variance must be a finite number above 0, got 0.0"),
        (GOOD.byte(), float("nan"), "data_variance must be a finite number above 0, got nan"),
        (GOOD.byte(), -0.06, "data_variance must be a finite number above 0, got -0.06"),
    ],
)
def test_evaluate_refuses_what_gives_no_figure(images: Tensor, variance: float, said: str) -> None:
    assert said in refusal(lambda: evaluate(Answering(lambda x: x), images, variance))


@pytest.mark.parametrize("model", [VAE, VQVAE])
def test_loss_that_is_not_finite_names_epoch_step_and_the_last_good_state(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: type[nn.Module],
) -> None:
    loss, calls = model.loss, iter(range(1, 10**6))

    def breaking(self: nn.Module, x: Tensor) -> dict[str, Tensor]:
        terms = loss(self, x)
        return {**terms, "loss": terms["loss"] * torch.nan} if next(calls) == 11 else terms

    monkeypatch.setattr(model, "loss", breaking)
    config = small_config(model.__name__.lower())
    message = refusal(lambda: fit(config, few_photos, tmp_path))
    state = tmp_path / config.run_name / "resume.pt"
    assert message == (
        f"{config.run_name}: loss not finite at epoch 3, step 3; {state} holds the state after "
        "epoch 2. Try a lower learning rate."
    )
    assert len(read_state(state)["history"]) == 2


def test_loss_that_is_not_finite_in_the_first_epoch_says_that_nothing_is_kept(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("vae", learning_rate=1e20)
    assert "no epoch is kept. Try a lower" in refusal(lambda: fit(config, few_photos, tmp_path))


def test_weights_beyond_float16_are_refused() -> None:
    model = VAE(latent_dim=2)
    with torch.no_grad():
        model.encoder[0].bias[0] = 1e6
    message = refusal(lambda: stored_weights(model))
    assert (
        message
        == "encoder.0.bias is beyond float16, so it cannot be stored: try a lower learning rate"
    )


def test_a_collapsed_codebook_is_told_while_training_in_the_history_and_ever_after(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All images get the same code in the second epoch."""
    codes, config, epochs = VQVAE.codes, small_config("vqvae"), iter(range(1, 10**6))
    scattered = torch.arange(64).view(8, 8) % 32

    def collapsing(self: VQVAE, x: Tensor) -> Tensor:
        one = next(epochs) == 2
        return (0 if one else 1) * scattered.expand(len(x), 8, 8)

    monkeypatch.setattr(VQVAE, "codes", collapsing)
    run = fit(config, few_photos, tmp_path)
    assert run.history["collapsed"].tolist() == [False, True, False]
    warning = (
        f"WARNING: {config.run_name}: the codebook collapsed, perplexity was below 2 on the test "
        "images in epoch 2: try more epochs"
    )
    assert capsys.readouterr().out.count(warning) == 1
    monkeypatch.setattr(VQVAE, "codes", codes)
    fit(config, few_photos, tmp_path)
    assert capsys.readouterr().out.count(warning) == 1


def test_a_vae_has_no_codebook_to_collapse(small_runs: dict[str, Run]) -> None:
    assert small_runs["vae"].history["collapsed"].isna().all()


# --- notebooks -----------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of a title, a parameters cell and others, and return its path."""
    parameters = (
        "size: int = 1\nrate: float = 1e-3\nlimit: int = None\nplain = 2\n"
        "name: str = 'x'\nflag: bool = False"
    )

    def write(*sources: str) -> Path:
        cells = [nbformat.v4.new_markdown_cell("# Title")]
        cells += [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
        cells[1].metadata["tags"] = ["parameters"]
        content = nbformat.v4.new_notebook(cells=cells)
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        content.metadata["language_info"] = {"name": "python"}
        nbformat.write(content, tmp_path / "some.ipynb")
        return tmp_path / "some.ipynb"

    return write


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        *(("size", value, ["whole number", repr(value)]) for value in
          ("true", "1e-3", 2.5, True, "none")),
        ("limit", "few", ["whole number", "'few'"]),
        ("plain", "many", ["whole number", "'many'"]),
        ("rate", "fast", ["number", "'fast'"]),
        ("rate", "nan", ["number", "'nan'"]),
        ("name", 3, ["text", "3"]),
        ("flag", "maybe", ["true or false", "'maybe'"]),
        ("flag", 1, ["true or false", "1"]),
        ("sise", 1, ["size, rate, limit, plain, name, flag"]),
    ],
)  # fmt: skip
def test_mistyped_parameter_is_refused_before_anything_runs(
    notebook: Callable[..., Path], tmp_path: Path, name: str, value: object, facts: list[str]
) -> None:
    source = notebook("1")
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {name: value}))
    assert [fact for fact in ("some.ipynb", name, *facts) if fact not in message] == []
    assert [path.name for path in tmp_path.iterdir()] == ["some.ipynb"]


def test_text_becomes_the_type_that_the_notebook_gives(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """Every value on a command line is text."""
    text = {"size": "256", "rate": "1e-3", "limit": "none", "plain": "7", "name": "7",
            "flag": "true"}  # fmt: skip
    arguments = [argument for pair in text.items() for argument in ("-p", *pair)]
    output = tmp_path / "out.ipynb"
    source = notebook("print([size, rate, limit, plain, name, flag])")
    main(["notebook", str(source), str(output), *arguments])
    printed = nbformat.read(output, 4).cells[-1].outputs[0].text
    assert printed == "[256, 0.001, None, 7, '7', True]\n"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import os; os._exit(1)", "kernel died"),
        ("import time; time.sleep(60)", "5 s"),
        ("import sys; sys.exit()", "failed"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
    ],
)
def test_notebook_that_stops_names_cell_and_cause_and_is_no_result(
    notebook: Callable[..., Path], tmp_path: Path, source: str, cause: str
) -> None:
    output, path = tmp_path / "out.ipynb", notebook("1", source, "2")
    failed, pdf = tmp_path / "out.failed.ipynb", tmp_path / "out.pdf"
    message = refusal(lambda: run_notebook(path, output, {"size": 2}, timeout=5))
    facts = ("some.ipynb for out", "cell 4", cause, str(failed))
    assert [fact for fact in facts if fact not in message] == []
    assert not output.exists()
    assert f"{failed} did not run to its end: cell" in refusal(lambda: export_pdf(failed, pdf))
    assert not pdf.exists()


def test_notebook_that_has_not_run_makes_no_pdf(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    source = notebook("1")
    message = refusal(lambda: export_pdf(source, tmp_path / "out.pdf"))
    assert [fact for fact in (str(source), "cell 2", "not run") if fact not in message] == []


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        ("NoSuchKernel", ["some.ipynb", "'python3'", "install ipykernel"]),
        ("RuntimeError", ["some.ipynb", "no answer in 60 seconds"]),
        ("OSError", ["out.failed.ipynb", "No space left on device"]),
    ],
)
def test_notebook_that_cannot_be_begun_or_stored_is_told(
    notebook: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    facts: list[str],
) -> None:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    errors = {
        "NoSuchKernel": NoSuchKernel("python3"),
        "RuntimeError": RuntimeError("no answer in 60 seconds"),
        "OSError": OSError(28, "No space left on device"),
    }

    def fail(*_args: object, **_options: object) -> None:
        raise errors[error]

    source = notebook("1")
    monkeypatch.setattr(papermill, "execute_notebook", fail)
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {}))
    assert [fact for fact in facts if fact not in message] == []
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_is_not_written_over_by_its_own_output(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    source = notebook("1")
    before = source.read_bytes()
    assert f"overwrite the notebook {source}" in refusal(lambda: run_notebook(source, source, {}))
    assert source.read_bytes() == before


# --- runs and files ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_changed_digit_in_what_a_run_says_of_itself_is_found(mine: Study, name: str) -> None:
    """Any one, but for those that the file's checksums are made of."""
    path = mine.folder / mine.run_names[0] / name
    text = path.read_text()
    for place in (
        i for i, letter in enumerate(text.partition('"sha256"')[0]) if letter in "0123456789"
    ):
        path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        assert str(path.parent) in refusal(lambda: load_run(path.parent).environment)
    path.write_text(text.replace('"sha256"', '"sha257"').replace('"epochs"', '"epoch"'))
    assert str(path) in refusal(lambda: load_run(path.parent).environment)


def test_pictures_that_changed_are_no_part_of_an_older_run(
    picture_folder: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    config = dataclasses.replace(small_config("vae"), dataset=str(pictures), epochs=1)
    run = fit(config, results=tmp_path)
    assert evaluate_run(run.folder)["test_mse"] == run.evaluation["test_mse"]
    some = next(pictures.rglob("*.png"))
    Image.fromarray(np.asarray(Image.open(some)) // 2).save(some)
    for again in (lambda: evaluate_run(run.folder), lambda: fit(config, results=tmp_path)):
        assert f"{run.folder.name} was made of other images than" in refusal(again)


def test_images_of_another_limit_than_the_config_s_are_refused(
    photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_config("vae"), limit=64)
    message = refusal(lambda: fit(config, load_images("photos", 32), tmp_path))
    assert "the images given are limit 32, the config asks for limit 64" in message
    assert not (tmp_path / config.run_name).exists()


def test_a_figure_that_cannot_be_stored_leaves_the_one_before(
    summary: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_figure(metric_by_batch_size(summary), tmp_path, "figure")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    summary["test_ssim"] /= 2
    message = refusal(lambda: save_figure(metric_by_batch_size(summary), tmp_path, "figure"))
    assert message == f"{tmp_path / 'figure.png'} cannot be written: No space left on device"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_network_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    def fail(_self: CIFAR10) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(CIFAR10, "download", fail)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    message = refusal(lambda: load_images("cifar10"))
    assert "could not be downloaded (Temporary failure in name resolution)" in message
    assert not (tmp_path / "cifar-10-batches-py").exists()


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_at_all_for_a_cell_is_refused(tmp_path: Path, seconds: int) -> None:
    source = ROOT / "notebooks" / "01_vae_baseline.ipynb"
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {}, seconds))
    assert [fact for fact in ("timeout", f"got {seconds}") if fact not in message] == []


def test_a_failed_notebook_is_not_lost_when_it_is_run_again(tmp_path: Path) -> None:
    failed = tmp_path / "n.failed.ipynb"
    failed.write_text("")
    message = refusal(lambda: run_notebook(failed, tmp_path / "n.ipynb", {}))
    assert f"overwrite the notebook {failed}" in message


def test_a_name_too_long_for_the_system_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "vae", "--dataset", "photos", "--results", str(tmp_path / ("x" * 300))])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("vqlib: ")
    assert "File name too long" in said
    assert said.count("\n") == 1
