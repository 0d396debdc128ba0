"""The user's surroundings change nothing: name, home, encoding, kernels, other tools' settings."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
import torch
from albums import fill
from conftest import SMALL, MakeConfig
from nbformat.v4 import new_code_cell, new_notebook

from vqlib import Run, find_runs, fit, load_run
from vqlib.cli import main
from vqlib.figures import FORMATS, image_grid, loss_curves, save_figure
from vqlib.paths import ROOT, place
from vqlib.study import load_summary
from vqlib.study.notebook import run_notebook
from vqlib.system.data import data_root
from vqlib.system.files import read_json, write_json
from vqlib.system.surroundings import have_a_home, name_the_user

LATIN_1 = b"caf\xe9"  # no name in UTF-8


def write_notebook(path: Path, *sources: str) -> Path:
    parameters = new_code_cell("size = 1", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[parameters, *map(new_code_cell, sources)]), path)
    return path


def printed(path: Path) -> str:
    """Return what the last cell of a notebook printed."""
    outputs = nbformat.read(path, 4).cells[-1].outputs
    return "".join(each.get("text", "") for each in outputs).strip()


# --- a container -----------------------------------------------------------------------------


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass

    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.delenv("USER", raising=False)
    name_the_user()
    assert os.environ["USER"] == f"user{os.getuid()}"


@pytest.mark.parametrize("home", ["/proc/nohome", ""])
def test_a_home_that_cannot_be_written_is_replaced(
    monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    if not home:
        monkeypatch.setattr(Path, "home", lambda: Path("/proc/nohome"))
    have_a_home()
    assert Path(os.environ["HOME"]).is_dir()
    assert os.access(os.environ["HOME"], os.W_OK)


def test_a_home_that_can_be_written_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    have_a_home()
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.faults
def test_a_notebook_trains_for_a_user_without_name_and_home(tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this system lets nobody be another user: no unshare, or not allowed")
    fill(tmp_path / "pics", 12)
    source = write_notebook(
        tmp_path / "train.ipynb",
        "from vqlib import TrainConfig, fit\n"
        f"config = TrainConfig(model='vae', dataset={str(tmp_path / 'pics')!r}, epochs=1,"
        f" **{SMALL['vae']})\nprint(fit(config, results={str(tmp_path / 'runs')!r}).folder.name)",
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [
            *unshare, "env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={ROOT}",
            "OMP_NUM_THREADS=1", "HOME=/proc/nohome",
            sys.executable, "-m", "vqlib", "notebook", str(source), str(tmp_path / "out.ipynb"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert printed(tmp_path / "out.ipynb").endswith("latent_dim16")


# --- other tools' settings -------------------------------------------------------------------


def test_another_kernel_and_a_user_s_settings_do_not_reach_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    settings = tmp_path / "settings"
    for folder in (kernel, startup, settings):
        folder.mkdir(parents=True)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "P", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    (startup / "00.py").write_text("leaked = True")
    (settings / "matplotlibrc").write_text("figure.dpi: 7")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MATPLOTLIBRC", str(settings / "matplotlibrc"))
    source = write_notebook(
        tmp_path / "some.ipynb",
        "import sys, matplotlib as mpl\n"
        "print(sys.executable, 'leaked' in globals(), mpl.rcParams['figure.dpi'])",
    )
    run_notebook(source, tmp_path / "out.ipynb", {})
    assert printed(tmp_path / "out.ipynb") == f"{sys.executable} False 100.0"


def test_figures_do_not_depend_on_the_user_s_matplotlibrc(tmp_path: Path) -> None:
    history = pd.DataFrame({"epoch": [1, 2], "steps": [4, 8], "loss": [2.0, 1.0]})

    def saved(folder: Path) -> list[bytes]:
        for name, figure in {
            "images": image_grid({"original": torch.zeros(2, 3, 32, 32)}),
            "loss": loss_curves({16: history}, ["loss"]),
        }.items():
            save_figure(figure, folder, name)
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    expected = saved(tmp_path / "plain")
    theirs = {
        **{"font.family": "serif", "font.size": 20, "figure.facecolor": "red", "figure.dpi": 30},
        **{"savefig.dpi": 30, "savefig.bbox": "tight", "svg.fonttype": "none", "lines.marker": "x"},
    }
    with mpl.rc_context(theirs):
        assert saved(tmp_path / "theirs") == expected
    assert len(expected) == 2 * len(FORMATS)


def test_a_tilde_is_the_home_in_every_path(
    small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = small_runs["vae"]
    shutil.copytree(run.folder, tmp_path / "runs" / run.folder.name)
    fill(tmp_path / "data", 2)
    monkeypatch.setenv("VQLIB_DATA", "~/data")
    assert data_root() == tmp_path / "data"
    assert load_run(f"~/runs/{run.folder.name}").config == run.config
    assert [each.config for each in find_runs("~/runs")] == [run.config]
    assert list(load_summary("~/runs").run) == [run.folder.name]
    assert fit(run.config, results="~/runs").folder == tmp_path / "runs" / run.folder.name
    assert place("~/x") == tmp_path / "x"
    save_figure(image_grid({"a": torch.zeros(1, 3, 32, 32)}), "~/figures", "some")
    main(["reconstruct", f"~/runs/{run.folder.name}", "~/data", "-o", "~/out"])
    assert len(list(tmp_path.glob("figures/some.*"))) == len(FORMATS)
    assert len(list(tmp_path.glob("out/*.png"))) == 2


# --- names and encodings ---------------------------------------------------------------------


@pytest.fixture
def latin_1(tmp_path: Path) -> Iterator[Path]:
    """Return a folder of pictures whose name is not UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + LATIN_1))
    fill(folder, 12)
    yield folder
    shutil.rmtree(os.fsencode(folder))


@pytest.mark.faults
def test_a_folder_whose_name_is_no_utf8_can_be_trained_on(
    latin_1: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("vae", dataset=str(latin_1), epochs=1)
    run = load_run(fit(config, results=tmp_path / "runs").folder)
    assert run.config.dataset == str(latin_1)
    assert fit(config, results=tmp_path / "runs").environment == run.environment


@pytest.mark.faults
def test_what_an_encoding_lacks_is_printed_as_an_escape(latin_1: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vqlib", "train", "vae", "--dataset", str(latin_1)]
    command += ["--epochs", "1", "--latent-dim", "4", "--results", str(tmp_path / "ä")]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"/\\xe4/vae-caf_" in done.stdout


def test_json_is_plain_unicode_and_any_name_comes_back(tmp_path: Path) -> None:
    content = {"about": "9×7 – 猫", "name": os.fsdecode(LATIN_1)}
    write_json(tmp_path / "some.json", content)
    assert "9×7 – 猫" in (tmp_path / "some.json").read_bytes().decode()
    assert read_json(tmp_path / "some.json") == content


def test_every_text_file_is_opened_with_its_encoding() -> None:
    """Else it depends on the user's locale."""
    bare = []
    for path in (ROOT / "vqlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                of = ast.unparse(node.func).rpartition(".")[0]
                text = ast.unparse(node)
                is_text = name in ("read_text", "write_text") or (
                    name == "open" and not of and "b'" not in text
                )
                if is_text and "encoding" not in text and "'utf-8'" not in text:
                    bare.append(f"{path.name}: {text}")
                if any(keyword.arg == "text" for keyword in node.keywords) and name == "run":
                    bare.append(f"{path.name}: {text}")
    assert bare == []
