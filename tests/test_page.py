"""The explorer page: models in the browser do what PyTorch does, for every reader.

Tests with a browser open the page from disk; any request, error or message of the console fails
them.
"""

import dataclasses
import re
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeConfig, refusal
from faults import change_json
from PIL import Image
from safetensors.torch import load_file, save
from skimage.transform import resize_local_mean
from torch import Tensor

from vqlib import Images, Run, fit, load_run
from vqlib.cli import main
from vqlib.generation import Prior, fit_prior, load_prior, sample_codes
from vqlib.models import VQVAE, GaussianModel
from vqlib.page import explorer_page, write_page
from vqlib.paths import ROOT
from vqlib.runs import WEIGHTS, StoredRun, stored_weights, write_environment

playwright = pytest.importorskip(
    "playwright.sync_api", reason='the browser tests need: .venv/bin/pip install -e ".[browser]"'
)
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

Page = playwright.Page
Open = Callable[..., Page]

SHIPPED = list(  # one run with weights for each shape of network
    {
        tuple(str(weights.shape) for weights in load_file(path).values()): path.parent
        for folder in ("precision", "codebook", "longer", "rate", "paper")
        for path in sorted((ROOT / "results" / folder).glob("*/weights.safetensors"))
    }.values()
)
PRIORS = sorted(ROOT.glob("results/generation/transformer-*-of-vqvae-*"))
SIXTEEN = ROOT / "results" / "rate" / "vqvae-cifar10-b128-e40-s0-num_embeddings16"
OTHERS = {  # models that are built in other ways than the shipped ones
    "odd latent": ("vae", {"latent_dim": 5}),
    "coarse grid": ("vqvae", {"grid": 4, "num_embeddings": 100}),
    "fine grid": ("vqvae", {"grid": 16, "embedding_dim": 5, "num_residual_layers": 0}),
    "narrow": ("vqvae", {"num_hiddens": 6, "num_residual_hiddens": 3, "decay": 0.0}),
    "one code": ("vqvae", {"num_embeddings": 1}),
    "spatial": ("svae", {"num_residual_layers": 2}),
    "coarse spatial": ("svae", {"grid": 4, "latent_channels": 3}),
}


@pytest.fixture
def open_page(browser: "playwright.Browser", tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens the page of runs; at the end, nothing may have gone wrong."""
    wrong: list[str] = []
    contexts = []

    def open_runs(runs: Sequence[Run | Prior], **options: object) -> Page:
        write_page(runs, tmp_path / "a page.html")
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url))
        page.goto((tmp_path / "a page.html").as_uri())
        wait(page)
        return page

    yield open_runs
    for context in contexts:
        context.close()
    allowed = ("blob:", "data:", (tmp_path / "a page.html").as_uri())
    assert [what for what in wrong if not what.startswith(allowed)] == []


def wait(page: Page) -> None:
    """Wait until the networks have answered all that was asked."""
    page.evaluate("new Promise((done) => setTimeout(done))")  # after what is due at once
    page.wait_for_selector("main[aria-busy=false]")


def pixels(page: Page, figure: str) -> np.ndarray:
    """Return what a figure shows, uint8 (32, 32, 3)."""
    address = page.locator(f"{figure} canvas").evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(BytesIO(b64decode(address.split(",")[1]))).convert("RGB"))


def drawn(page: Page, number: int = 0) -> np.ndarray:
    """Return what the decoder of a run draws."""
    return pixels(page, f"figure.model >> nth={number} >>")


def distance(shown: np.ndarray, image: Tensor) -> int:
    """Return the largest difference of any pixel, in levels of 255, to a (1, 3, 32, 32) image."""
    expected = (image[0] * 255).round().permute(1, 2, 0).numpy()
    return int(np.abs(shown - expected).max())  # float: no overflow


def tensor(shown: np.ndarray) -> Tensor:
    return torch.from_numpy(shown).permute(2, 0, 1)[None].float() / 255


def choose(page: Page, number: int) -> None:
    page.get_by_label(f"Test picture {number + 1}", exact=True).check(force=True)
    wait(page)


def press(page: Page, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()
    wait(page)


def code_map(page: Page) -> Tensor:
    """Return the codes (1, H, W) that the labels of the map's cells name."""
    labels = page.locator(".map [role=gridcell]").evaluate_all(
        "cells => cells.map((cell) => cell.ariaLabel)"
    )
    found = [re.fullmatch(r"Row (\d+), column (\d+): code (\d+)", label) for label in labels]
    rows, columns, codes = torch.tensor([[int(n) for n in match.groups()] for match in found]).mT
    side = round(len(codes) ** 0.5)
    assert (side * (rows - 1) + columns - 1).tolist() == list(range(len(codes)))
    return codes.view(1, side, side)


@pytest.fixture
def pair(small_runs: dict[str, Run]) -> list[Run]:
    """Return a small VAE and a shipped VQ-VAE that uses all of its 16 codes."""
    return [small_runs["vae"], load_run(SIXTEEN)]


# --- the models are PyTorch's --------------------------------------------------------------


@pytest.mark.parametrize("folder", SHIPPED, ids=[folder.name for folder in SHIPPED])
def test_a_shipped_run_draws_the_reconstructions_of_its_sheet(
    open_page: Open, folder: Path
) -> None:
    run = load_run(folder)
    page = open_page([run])
    for number, pair in enumerate(zip(*run.reconstructions, strict=True)):
        original, reconstruction = (image[None] / 255 for image in pair)
        choose(page, number)
        assert distance(pixels(page, "#original"), original) == 0
        assert distance(drawn(page), reconstruction) <= 1


@torch.no_grad()
def lively(run: Run) -> Run:
    """Store other weights in a run that was hardly trained: pictures differ, and use many codes."""
    model = run.model
    for name, value in model.named_parameters():
        if name.endswith("weight"):
            value *= 2
    if isinstance(model, VQVAE):
        z = model.encode(run.reconstructions[0] / 255).permute(0, 2, 3, 1).flatten(0, 2)
        picked = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
        model.quantizer.codebook[:] = z[picked[: model.num_codes]]
    store_weights(run)
    return load_run(run.folder)


def store_weights(run: StoredRun) -> None:
    """Store a run's weights as they are now."""
    (run.folder / WEIGHTS).write_bytes(save(stored_weights(run.model)))
    known = {name: value for name, value in run.environment.items() if name != "sha256"}
    write_environment(run.folder, known)


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_of_any_settings_reconstructs_as_in_pytorch(
    open_page: Open, name: str, few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    model, values = OTHERS[name]
    run = lively(fit(small_config(model, epochs=1, **values), few_photos, tmp_path))
    page = open_page([run])
    for number in (0, 5):
        choose(page, number)
        x = run.reconstructions[0][number : number + 1] / 255
        reconstruction = run.model.reconstruct(x)
        assert reconstruction.std() > 0.05
        assert distance(drawn(page), reconstruction) <= 1
        if isinstance(run.model, VQVAE):
            assert torch.equal(code_map(page), run.model.codes(x))
            assert len(code_map(page).unique()) > 8 or run.model.num_codes == 1


def test_errors_are_those_of_the_pictures_shown(open_page: Open, pair: list[Run]) -> None:
    page = open_page(pair)
    original = pixels(page, "#original") / 255
    for number, run in enumerate(pair):
        mse = np.square(original - drawn(page, number) / 255).mean()
        told = page.locator("figure.model .error").nth(number).inner_text()
        nmse, psnr = map(float, re.fullmatch(r"NMSE\s([\d.]+), PSNR\s([\d.]+)\sdB", told).groups())
        assert nmse == pytest.approx(mse / run.data_variance, abs=2e-3)
        assert psnr == pytest.approx(-10 * np.log10(mse), abs=0.06)


# --- what a reader can do ------------------------------------------------------------------


def test_painting_on_the_map_changes_the_picture(open_page: Open, pair: list[Run]) -> None:
    page = open_page(pair)
    before, codes = drawn(page, 1), code_map(page)
    page.locator(".book").get_by_label(re.compile(r"^Code 7\b")).click()
    cells = page.locator(".map [role=gridcell]")
    cells.nth(9).hover()
    page.mouse.down()
    cells.nth(12).hover()
    page.mouse.up()
    wait(page)
    codes[0, 1, 1] = codes[0, 1, 4] = 7
    assert torch.equal(code_map(page)[0, 1, [1, 4]], codes[0, 1, [1, 4]])
    assert not np.array_equal(drawn(page, 1), before)
    assert distance(drawn(page, 1), pair[1].model.decode_codes(code_map(page))) <= 1


def test_codes_are_shuffled_replaced_taken_and_brought_back(
    open_page: Open, pair: list[Run]
) -> None:
    page = open_page(pair[1:])
    before, codes = drawn(page), code_map(page)
    press(page, "Shuffle")
    shuffled = code_map(page)
    assert not torch.equal(shuffled, codes)
    assert torch.equal(shuffled.flatten().sort().values, codes.flatten().sort().values)
    press(page, "Take from the map")
    page.locator(".map [role=gridcell]").nth(20).click()
    assert torch.equal(code_map(page), shuffled)
    press(page, "Fill")
    assert code_map(page).unique().tolist() == [shuffled[0, 2, 4]]
    press(page, "Random")
    assert len(code_map(page).unique()) > 1
    assert distance(drawn(page), pair[1].model.decode_codes(code_map(page))) <= 1
    press(page, "Back to the picture")
    assert torch.equal(code_map(page), codes)
    assert np.array_equal(drawn(page), before)


@pytest.mark.parametrize("model", ["vae", "svae"])
def test_moving_a_latent_changes_the_picture(
    open_page: Open, small_runs: dict[str, Run], model: str
) -> None:
    run = small_runs[model]
    assert isinstance(run.model, GaussianModel)
    page = open_page([run])
    before = drawn(page)
    slider = page.get_by_role("slider", name=re.compile("^z")).first
    index = [int(part) for part in page.locator(".sliders sub").first.inner_text().split(",")]
    slider.fill("2.5")
    wait(page)
    with torch.no_grad():
        z = run.model.encode(tensor(pixels(page, "#original")))[0]
        z[(0, *index)] = 2.5
        assert distance(drawn(page), run.model.decode(z).clamp(0, 1)) <= 1
    assert not np.array_equal(drawn(page), before)
    press(page, "Random")
    random = drawn(page)
    assert not np.array_equal(random, before)
    press(page, "Back to the picture")
    assert np.array_equal(drawn(page), before)


def test_the_sliders_are_those_latents_with_most_information(
    open_page: Open, small_runs: dict[str, Run]
) -> None:
    run = small_runs["vae"]
    page = open_page([run])
    with torch.no_grad():
        mean, log_variance = run.model.encode(run.reconstructions[0])
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(posterior, prior).mean(0) / np.log(2)
    shown = page.locator(".sliders label").all_inner_texts()
    told = [re.match(r"z\s*(\d+)\s+([\d.]+) bits", text).groups() for text in shown]
    best = kl.sort(descending=True)
    assert [int(latent) for latent, _ in told] == best.indices[: len(told)].tolist()
    assert [float(bits) for _, bits in told] == pytest.approx(best.values[: len(told)], abs=0.06)


def test_what_is_drawn_on_the_picture_goes_through_the_models(
    open_page: Open, pair: list[Run]
) -> None:
    page = open_page(pair)
    choose(page, 3)
    original, before = pixels(page, "#original"), drawn(page)
    page.locator("#colour").fill("#00ff80")
    box = page.locator("#original canvas").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.up()
    wait(page)
    changed = pixels(page, "#original")
    assert (changed[16, 6:26] == (0, 255, 128)).all()  # the stroke has no gaps
    assert np.array_equal(changed[20:], original[20:])
    for number, run in enumerate(pair):
        assert distance(drawn(page, number), run.model.reconstruct(tensor(changed))) <= 1
    press(page, "Undo drawing")
    assert np.array_equal(pixels(page, "#original"), original)
    assert np.array_equal(drawn(page), before)


@pytest.mark.parametrize("size", [(32, 32), (150, 101), (20, 45)])
def test_a_picture_of_ones_own_is_cropped_and_resized(
    open_page: Open, pair: list[Run], size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    page = open_page(pair[:1])
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.set_input_files("#file", file)
    page.get_by_text("mine.png").wait_for()
    wait(page)
    side = min(size)
    margins = [(length - side) / 2 for length in noise.shape[:2]]
    if all(margin == int(margin) for margin in margins):
        top, left = map(int, margins)
        square = noise[top : top + side, left : left + side] / 255
    else:  # the crop begins in the middle of a pixel, so halve all pixels
        top, left = (int(2 * margin) for margin in margins)
        square = noise.repeat(2, 0).repeat(2, 1)[top:, left:][: 2 * side, : 2 * side] / 255
    expected = resize_local_mean(square, (32, 32), channel_axis=2, grid_mode=True)
    shown = pixels(page, "#original")
    assert np.abs(shown - 255 * expected).max() < 1
    assert distance(drawn(page), pair[0].model.reconstruct(tensor(shown))) <= 1
    assert page.locator(".thumbs :checked").count() == 0


def test_what_is_dropped_and_is_no_picture_is_told(open_page: Open, pair: list[Run]) -> None:
    page = open_page(pair[:1])
    before = pixels(page, "#original")
    page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["no picture"], "notes.txt"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
        }"""
    )
    page.get_by_text("notes.txt is no picture").wait_for()
    assert np.array_equal(pixels(page, "#original"), before)


# --- with a prior --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unconditional(
    small_runs: dict[str, Run], few_photos: Images, tmp_path_factory: pytest.TempPathFactory
) -> Prior:
    """Return a prior without classes whose probabilities are far from equal."""
    vqvae = small_runs["vqvae"]
    size = {"width": 96, "layers": 3}
    results = tmp_path_factory.mktemp("priors")
    prior = fit_prior(vqvae, few_photos, results, batch_size=32, epochs=1, **size)
    with torch.no_grad():
        for value in prior.model.parameters():
            value *= 3
    store_weights(prior)
    return load_prior(prior.folder, vqvae.folder)


@pytest.fixture(params=["unconditional", *(folder.name for folder in PRIORS)])
def prior(request: pytest.FixtureRequest, unconditional: Prior) -> Prior:
    """Return a small prior without classes, then those that are shipped."""
    if request.param == "unconditional":
        return unconditional
    return load_prior(ROOT / "results" / "generation" / request.param)


def codes_of_page(page: Page) -> list[int]:
    """Return the codes of the map; -1 for a place without one."""
    return page.evaluate("[...panels.at(-1).latent.data]")


def python_codes(
    prior: Prior, temperature: float, seed: int, label: int = 0, known: list[int] | None = None
) -> list[int]:
    given = None if known is None else torch.tensor([known])
    return sample_codes(prior.model, torch.tensor([label]), given, temperature, seed)[0].tolist()


def test_logits_of_a_prior_are_those_of_pytorch(open_page: Open, prior: Prior) -> None:
    page = open_page([prior, prior.vqvae])
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(prior.model.num_codes, (prior.model.places,), generator=generator)
    label = max(0, len(prior.classes) - 1)
    with torch.no_grad():
        expected = prior.model.logits(torch.tensor([label]), codes[None])[0]
    asked = (0, 1, 40, prior.model.places - 1, 20)  # the last is told from what was read before
    given = [{"label": label, "codes": codes[:count].tolist()} for count in asked]
    told = page.evaluate(
        """async (given) => {
            const [sampler] = panels[0].samplers;
            const all = [];
            for (const each of given) all.push([...await sampler.ask("logits", each)]);
            return all;
        }""",
        given,
    )
    assert expected.std() > 0.5
    assert torch.tensor(told).sub(expected[list(asked)]).abs().max() < 2e-4


def test_a_sample_has_the_codes_that_the_command_would_sample(
    open_page: Open, prior: Prior
) -> None:
    page = open_page([prior.vqvae, prior], reduced_motion="reduce")
    label = len(prior.classes[:7]) and 6
    if prior.classes:
        page.get_by_label("Class").select_option(prior.classes[label])
    page.get_by_role("spinbutton").fill("3")
    page.get_by_label("Temperature").fill("0.9")
    press(page, "Sample")
    expected = python_codes(prior, 0.9, 3, label)
    assert codes_of_page(page) == expected
    assert distance(drawn(page), prior.decode(torch.tensor([expected]))) <= 1
    page.get_by_label("Temperature").fill("0")
    press(page, "Another")
    assert page.get_by_role("spinbutton").input_value() == "4"
    assert codes_of_page(page) == python_codes(prior, 0, 4, label)


def test_a_new_lower_half_follows_the_upper_one(open_page: Open, prior: Prior) -> None:
    page = open_page([prior.vqvae, prior], reduced_motion="reduce")
    choose(page, 2)
    before = codes_of_page(page)
    press(page, "New lower half")
    half = before[: len(before) // 2]
    assert codes_of_page(page) == python_codes(prior, 1, 0, known=half)
    press(page, "Back to the picture")
    assert codes_of_page(page) == before


def test_codes_are_drawn_one_by_one_or_chosen(open_page: Open, unconditional: Prior) -> None:
    page = open_page([unconditional.vqvae, unconditional])
    press(page, "Next code")
    expected = python_codes(unconditional, 1, 0)
    assert codes_of_page(page) == [expected[0], *[-1] * 63]
    offered = page.locator(".likeliest button").evaluate_all("all => all.map((b) => b.ariaLabel)")
    told = [re.fullmatch(r"Code (\d+), ([\d.]+)\s%", label).groups() for label in offered]
    with torch.no_grad():
        logits = unconditional.model.logits(torch.tensor([0]), torch.tensor([expected[:2]]))
    best = logits[0, 1].softmax(0).sort(descending=True)
    assert [int(code) for code, _ in told] == best.indices[: len(told)].tolist()
    shares = [float(share) / 100 for _, share in told]
    assert shares == pytest.approx(best.values[: len(told)].tolist(), abs=0.006)
    page.locator(".likeliest button").nth(4).click()
    wait(page)
    begun = [expected[0], int(told[4][0])]
    assert codes_of_page(page) == [*begun, *[-1] * 62]
    picture = pixels(page, "figure.model")
    assert len(np.unique(picture[4:].reshape(-1, 3), axis=0)) == 1  # nothing is there yet
    press(page, "Go on")
    assert codes_of_page(page) == python_codes(unconditional, 1, 0, known=begun)


def test_a_run_of_codes_can_be_stopped(open_page: Open, unconditional: Prior) -> None:
    page = open_page([unconditional.vqvae, unconditional])
    page.get_by_role("button", name="Sample", exact=True).click()
    press(page, "Stop")
    begun = codes_of_page(page)
    count = begun.index(-1)
    assert begun == [*python_codes(unconditional, 1, 0)[:count], *[-1] * (64 - count)]


@pytest.mark.faults
def test_a_prior_without_its_vqvae_is_refused(
    pair: list[Run], unconditional: Prior, tmp_path: Path
) -> None:
    asked = [unconditional, *pair]
    known = unconditional.config.vqvae, unconditional.config.weights[:8]
    refusal(lambda: write_page(asked, tmp_path / "page.html"), unconditional.folder, *known)


@pytest.mark.faults
def test_a_prior_that_the_page_cannot_sample_from_is_refused(
    small_runs: dict[str, Run], few_photos: Images, tmp_path: Path
) -> None:
    vqvae = small_runs["vqvae"]
    size = {"channels": 8, "blocks": 1}
    prior = fit_prior(vqvae, few_photos, tmp_path, model="pixelcnn", epochs=1, **size)
    refusal(lambda: explorer_page([vqvae, prior]), prior.folder, "PixelCNN", "transformer")


# --- for every reader ----------------------------------------------------------------------


def test_everything_works_by_keyboard(open_page: Open, pair: list[Run]) -> None:
    page = open_page(pair)

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.closest(s) !== null", selector):
                return
        raise AssertionError(f"{selector} is not reached")

    def keys(*names: str) -> None:
        for name in names:
            page.keyboard.press(name)
        wait(page)

    original = pixels(page, "#original")
    tab_to("#original")
    keys("ArrowLeft", "ArrowUp", "Space")
    assert np.argwhere((pixels(page, "#original") != original).any(2)).tolist() == [
        [y, x] for y in (14, 15, 16) for x in (14, 15, 16)
    ]
    tab_to(".thumbs")
    keys("ArrowRight")
    second = pair[0].reconstructions[0][1].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(page, "#original"), second)
    before = drawn(page, 0)
    tab_to(".sliders")
    keys("ArrowRight", "ArrowRight")
    assert not np.array_equal(drawn(page, 0), before)
    codes = code_map(page)
    tab_to(".map")
    keys("ArrowRight", "ArrowDown", "ArrowUp", "ArrowDown")
    tab_to(".book")
    keys("ArrowRight", "Space")
    code = int(re.match(r"code (\d+) of 16", page.locator(".pen .name").inner_text())[1])
    page.keyboard.press("Shift+Tab")
    for _ in range(10):
        if page.evaluate("document.activeElement.closest('.map') !== null"):
            break
        page.keyboard.press("Shift+Tab")
    keys("Space")  # the map remembers its place
    codes[0, 1, 1] = code
    assert torch.equal(code_map(page), codes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_readable_at_any_width_in_light_and_dark(
    open_page: Open, small_runs: dict[str, Run], unconditional: Prior, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    runs = [*(small_runs[model] for model in ("vae", "vqvae", "svae")), unconditional]
    page = open_page(runs, viewport=size, color_scheme=scheme)
    press(page, "Next code")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", paper)]
    assert max(levels) < 80 if scheme == "dark" else min(levels) > 200
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_each_model_has_its_own_colour_and_bits(open_page: Open, pair: list[Run]) -> None:
    page = open_page(pair)
    borders = page.locator("figure.model figcaption").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).borderLeftColor)"
    )
    assert borders == ["rgb(213, 94, 0)", "rgb(0, 114, 178)"]
    bits = page.locator("figure .bits").all_inner_texts()
    assert bits == ["24,576 bits", *(f"{run.bits:,.0f} bits" for run in pair)]


def test_only_what_these_runs_can_do_is_explained(open_page: Open, pair: list[Run]) -> None:
    for number, word in enumerate(("codebook", "sliders")):
        page = open_page([pair[number]])
        shown = page.locator("body").inner_text().lower()
        assert word not in shown
        assert word in page.locator("body").text_content().lower()


# --- the file ------------------------------------------------------------------------------


def test_the_command_writes_one_file_with_the_weights_as_they_are(
    pair: list[Run], unconditional: Prior, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    runs = [unconditional, *pair, unconditional.vqvae]
    main(["explorer", *(str(run.folder) for run in runs), "-o", str(output)])
    assert f"written: {output}" in capsys.readouterr().out
    content = output.read_text(encoding="utf-8")
    assert content == explorer_page(runs)
    assert "http" not in re.sub(r'http-equiv|"[\w+/=]{99,}"', "", content)


def test_codes_that_training_left_unused_are_marked(open_page: Open, pair: list[Run]) -> None:
    run = load_run(pair[1].folder)
    run.model.quantizer.ema_counts[:3] = 1e-6
    page = open_page([run])
    marked = page.locator(".book .unused").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert sorted(label.split(",")[0] for label in marked) == ["Code 0", "Code 1", "Code 2"]
    assert "marks the 3 that training left unused" in page.locator("body").inner_text()


def test_runs_of_one_model_are_told_apart_by_their_settings(
    open_page: Open, pair: list[Run]
) -> None:
    other = dataclasses.replace(pair[0].config, batch_size=7, dataset="</script> & <b>")
    page = open_page([pair[0], Run(pair[0].folder, other)])
    labels = page.locator("figure.model .label").all_inner_texts()
    assert labels == [
        "VAE (dataset photos, batch size 32)",
        "VAE (dataset </script> & <b>, batch size 7)",
    ]
    assert page.locator("#thumbs canvas").count() == len(pair[0].reconstructions[0])


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["no weights", "other weights", "unknown model"])
def test_a_run_that_cannot_be_drawn_is_refused_by_name(
    pair: list[Run], tmp_path: Path, damage: str
) -> None:
    folder = Path(shutil.copytree(pair[0].folder, tmp_path / "run"))
    weights = folder / "weights.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "other weights":
        shutil.copy(pair[1].folder / weights.name, weights)
    else:
        change_json(folder / "config.json", model="gan")
    named = "config.json" if damage == "unknown model" else weights
    refusal(lambda: write_page([load_run(folder)], tmp_path / "page.html"), folder, named)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.faults
def test_a_model_that_the_page_does_not_know_is_refused_with_those_it_knows(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path, autoencoder: str
) -> None:
    run = fit(small_config(autoencoder, epochs=1), few_photos, tmp_path)
    refusal(lambda: explorer_page([run]), run.folder, autoencoder, "VAE, VQ-VAE, Spatial VAE")


@pytest.mark.faults
def test_a_page_in_a_folder_that_is_not_there_is_refused(pair: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "page.html"
    refusal(lambda: write_page(pair, path), path, "no folder", path.parent)
