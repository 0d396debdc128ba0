"""The command that runs a study: what it does before, during and after Snakemake."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.paths import ROOT, is_finished, shown
from vqlib.runs import (
    SUMMED,
    check_same_images,
    collapse_warning,
    load_images_of,
    load_run,
    read_config,
)
from vqlib.study.cluster import EXECUTORS, Slurm, lost_jobs
from vqlib.study.presets import FULL, Study, load_study
from vqlib.study.schedule import expected_seconds
from vqlib.study.status import watch
from vqlib.study.summary import check_config, is_current
from vqlib.system.checkpoint import remove_state
from vqlib.system.files import make_folder, sole_writer, write_atomically, write_json
from vqlib.system.progress import duration

STOPS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 10.0  # seconds that processes have to end, each time they are told to


def run_study(
    preset: str,
    keep_going: bool = False,
    retrain: bool = False,
    executor: str = "local",
    root: Path = ROOT,
) -> None:
    """Run a preset with Snakemake, show its progress, and name the report.

    Args:
        preset: the preset's name.
        keep_going: go on with the other runs if one fails; on a cluster they always go on.
        retrain: train its runs again; those that are there are moved aside.
        executor: `local`, on all cores of this machine, or `slurm`, with a job for each run.
        root: the project's folder.

    Raises:
        UserError: before anything runs, if the preset, the data or the executor cannot be used;
            later, if a run or a notebook failed. The message has the error of each.
    """
    if executor not in EXECUTORS:
        raise UserError(f"unknown executor {executor!r}: choose one of {', '.join(EXECUTORS)}")
    started = time.time()
    study = load_study(preset, root=root)
    cluster = Slurm() if executor == "slurm" else None
    with sole_writer(study.folder):
        seconds = expected_seconds(study.configs, study.shipped)  # before any run is moved
        waiting = _prepare(study, retrain)
        _write_request(study, seconds)
        command = _snakemake(study, keep_going, bool(waiting))
        _execute(study, waiting, command, cluster)
    for run in map(load_run, study.run_folders):
        if warning := collapse_warning(run.config, run.history):
            print(warning)
    print(f"results: {study.summary}")
    print(f"figures: {study.figures}")
    print(f"report:  {study.report}")
    print(f"time:    {_times(study, started)}")


def _times(study: Study, started: float) -> str:
    """Return what a study's time was spent on; `make` says how long the packages took."""
    trained = max(started, study.summary.stat().st_mtime)
    spent = {
        "packages": float(os.environ.get("VQLIB_PACKAGES") or 0),
        "training": trained - started,
        "figures and report": time.time() - trained,
    }
    return ", ".join(f"{what} {duration(each)}" for what, each in spent.items() if each)


def _prepare(study: Study, retrain: bool) -> list[str]:
    """Check everything, then set aside what is out of date; return the names of runs to train."""
    if not retrain:
        _take_shipped(study)
    there = [folder for folder in study.run_folders if is_finished(folder) and not retrain]
    waiting = [folder.name for folder in study.run_folders if folder not in there]
    dataset = study.configs[0].dataset
    _check_finished(study, there, waiting)
    _check_free(study, waiting)
    _make_folders(study)
    if retrain:
        _set_aside(study)
    _remove_stale(study, waiting)
    finished = len(study.configs) - len(waiting)
    print(f"study {study.name} on {dataset}: {finished} of {len(study.configs)} runs are finished")
    if study.name == FULL and finished:
        print("finished runs are used as they are; RETRAIN=1 trains them again")
    return waiting


def _take_shipped(study: Study) -> None:
    """Copy the runs that the study asks for and that the project ships."""
    for config, own in zip(study.configs, study.run_folders, strict=True):
        shipped = study.shipped / config.run_name
        wanted = own != shipped and is_finished(shipped) and not is_finished(own)
        if wanted and read_config(shipped, TrainConfig) == config:
            print(f"{config.run_name}: finished, copied from {shown(shipped)}")
            with sole_writer(own):
                for name in (*SUMMED, "config.json", "environment.json"):  # the last makes it whole
                    if (shipped / name).is_file():  # not every run is shipped with its weights
                        write_atomically(own / name, (shipped / name).read_bytes())
                remove_state(own / "resume.pt")


def _check_finished(study: Study, there: list[Path], waiting: list[str]) -> None:
    """Refuse data that cannot be used, and finished runs of other configs or other pictures.

    Args:
        study: what is asked for.
        there: folders of finished runs.
        waiting: names of the runs to train.
    """
    runs = [load_run(folder) for folder in there]
    asked = dict(zip(study.run_names, study.configs, strict=True))
    for run in runs:
        check_config(run, asked[run.folder.name])
    first = study.configs[0]
    if not Path(first.dataset).exists():  # not pictures of the user
        if waiting:
            load_images_of(replace(first, limit=1))
        return
    skipped = any(run.environment.get("n_unreadable") for run in runs)
    images = load_images_of(first, skip_unreadable=None if waiting else skipped or None)
    for run in runs:
        check_same_images(run, images)


def _check_free(study: Study, waiting: list[str]) -> None:
    """Refuse to train runs that another process is training."""
    for folder in (study.folder / name for name in waiting):
        if folder.is_dir():
            with sole_writer(folder):
                pass


def _set_aside(study: Study) -> None:
    """Move what a study has made, but its figures, to a folder of its own inside the study's."""
    aside = study.folder / f"before-{time.strftime('%Y-%m-%dT%H%M%S')}"
    made = [*(study.folder / study.product(each) for each in study.configs), study.summary]
    there = [path for path in (*study.run_folders, *made, study.report) if path.exists()]
    if not there:
        return
    make_folder(aside)
    for path in there:
        with sole_writer(path) if path.is_dir() else nullcontext():
            try:
                os.replace(path, aside / path.name)
            except OSError as error:
                raise UserError(f"{path} cannot be moved to {aside}: {error.strerror}") from None
        for lock in aside.glob("*/.lock"):
            lock.unlink()
            lock.with_name(".holder").unlink()
    print(f"earlier results were moved to {shown(aside)}")


def _make_folders(study: Study) -> None:
    """Make the folders for figures and logs, the latter empty."""
    logs = study.folder / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    make_folder(logs)
    make_folder(study.figures)
    if not os.access(study.folder, os.W_OK):
        raise UserError(f"{study.folder} cannot be written")


def _remove_stale(study: Study, waiting: list[str]) -> None:
    """Remove what would keep Snakemake from training these runs and from showing their results."""
    for config in study.configs:
        if config.run_name in waiting:
            (study.folder / study.product(config)).unlink(missing_ok=True)
    if waiting or not is_current(study):
        study.summary.unlink(missing_ok=True)
        study.report.unlink(missing_ok=True)


def _snakemake(study: Study, keep_going: bool, renew: bool) -> list[str]:
    """Return the command that runs Snakemake.

    Snakemake need not lock its folder, because the study holds it. If it did, a killed study would
    lock out the next one.

    Args:
        study: what to run.
        keep_going: go on with the other runs if one fails.
        renew: make summary, figures and report again, even if they look up to date.
    """
    return [
        *(
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(study.root / "Snakefile"),
            "--quiet",
        ),
        *("--cores", "all", "--nolock", "--rerun-incomplete"),
        *(["--keep-going"] if keep_going else []),
        *(["--forcerun", "summary"] if renew else []),
        *("--configfile", str(_request(study))),
    ]


def _request(study: Study) -> Path:
    return study.folder / "logs" / "study.json"


def _write_request(study: Study, seconds: Sequence[float]) -> None:
    """Write what the Snakefile is to run; on its command line, `007` would be the number 7.

    Args:
        study: what to run.
        seconds: what each run is expected to take.
    """
    request = {
        "preset": study.name,
        "dataset": study.configs[0].dataset,
        "expected_seconds": dict(zip(study.run_names, seconds, strict=True)),
    }
    write_json(_request(study), request)


def _execute(study: Study, waiting: list[str], command: list[str], cluster: Slurm | None) -> None:
    """Run Snakemake, and show the progress of the runs that are trained.

    Raises:
        UserError: if a run or a notebook failed; the message has the error of each.
    """
    log = study.folder / "logs" / "snakemake.log"
    with open(log, "w", encoding="utf-8") as output:
        process = psutil.Popen(
            [*command, *(cluster.options(study.root) if cluster else [])],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=study.root,
            env=os.environ
            | {"VQLIB_HOME": str(study.root.absolute()), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
    try:
        watch(process, study.folder, waiting)
    finally:  # an interrupted study leaves no training behind
        _stop(process)
        if cluster:
            cluster.cancel()
    if process.returncode:
        raise UserError(_failures(study, log))
    if unfinished := [f.name for f in study.run_folders if not is_finished(f)]:
        raise UserError(f"study {study.name}: not trained: {', '.join(unfinished)} (see {log})")


def _stop(process: psutil.Popen) -> None:
    """End a process and all that it started: interrupt them, then terminate, then kill them."""
    if process.poll() is not None:
        return
    # A second signal to this process would leave the work half done.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    family: set[psutil.Process] = {process}
    for end in ENDS:
        family |= {child for each in family for child in _descendants(each)}
        for each in family:
            with suppress(psutil.Error):  # it has ended
                end(each)
        deadline = time.monotonic() + PATIENCE
        while family and time.monotonic() < deadline:
            time.sleep(0.05)
            family = {each for each in family if _is_alive(each)}
    process.poll()
    for number, handler in before.items():
        signal.signal(number, handler)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:  # it has ended
        return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has ended meanwhile
        return False


def _interrupt(process: psutil.Process) -> None:
    if os.name == "posix":  # Windows cannot interrupt a single process
        process.send_signal(signal.SIGINT)


ENDS = (_interrupt, psutil.Process.terminate, psutil.Process.kill)


def _failures(study: Study, log: Path) -> str:
    """Return the errors of runs and notebooks, and what the cluster did to jobs without one.

    Args:
        study: what was run.
        log: Snakemake's.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    lost = {n: what for n, what in lost_jobs(text).items() if not is_finished(study.folder / n)}
    errors = [
        _named(line.removeprefix("vqlib: "), path.stem, study)
        for path in sorted((study.folder / "logs").glob("*.log"))
        if path.stem not in lost
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("vqlib: ")
    ]
    errors += [f"{name}: {what}" for name, what in lost.items()]
    if not errors:  # Snakemake itself failed
        errors = [*text.split("\n\n")[-1].splitlines(), f"(see {log})"]
    again = "Fix this and run the same command again; it resumes where it stopped."
    return "\n       ".join([f"study {study.name} failed:", *errors, again])


def _named(message: str, log: str, study: Study) -> str:
    """Return a message from a log with the run's name; those of notebooks have it already."""
    return message if log in message or log not in study.run_names else f"{log}: {message}"
