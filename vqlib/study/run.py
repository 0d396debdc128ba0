"""The command that runs a study: what it does before, during and after Snakemake."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from vqlib.errors import UserError
from vqlib.images import load_images
from vqlib.paths import ROOT, shown
from vqlib.runs import SUMMED, collapse_warning, is_finished, load_run, read_config
from vqlib.study.cluster import EXECUTORS, Slurm, lost_jobs
from vqlib.study.presets import Study, load_study
from vqlib.study.status import watch
from vqlib.study.summary import is_current
from vqlib.system.checkpoint import remove_state
from vqlib.system.files import sole_writer, write_atomically

STOPS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 10.0  # seconds to end in, after each of them


def run_study(
    preset: str,
    keep_going: bool = False,
    retrain: bool = False,
    executor: str = "local",
    root: Path = ROOT,
) -> None:
    """Runs a preset with Snakemake, shows how far it is, and names the report.

    Args:
        preset: the preset's name.
        keep_going: whether the rest goes on where a notebook fails; on a cluster it always does.
        retrain: whether the preset's runs are deleted first.
        executor: `local`, on all cores of this machine, or `slurm`, each run a job of its own.
        root: the project's folder.

    Raises:
        UserError: before anything runs, where the preset or the data is wrong or there is no
            such executor; afterwards, where a notebook failed, with its name, cell and message.
    """
    if executor not in EXECUTORS:
        raise UserError(f"unknown executor {executor!r}: choose one of {', '.join(EXECUTORS)}")
    study = load_study(preset, root=root)
    cluster = Slurm() if executor == "slurm" else None
    with sole_writer(study.folder):
        _run_alone(study, keep_going, retrain, cluster)
    for run in map(load_run, study.run_folders):
        if warning := collapse_warning(run.config, run.history):
            print(warning)
    print(f"results: {study.summary}")
    print(f"figures: {study.figures}")
    print(f"report:  {study.report}")


def _run_alone(study: Study, keep_going: bool, retrain: bool, cluster: Slurm | None) -> None:
    dataset = study.configs[0].dataset
    if not retrain:
        _take_shipped(study)
    waiting = [n for n in study.run_names if retrain or not is_finished(study.folder / n)]
    if waiting:
        load_images(dataset, limit=1)  # data that cannot be used are told before anything runs
        _check_free(study, waiting)
    if retrain:
        for name in study.run_names:
            _remove_run(study.folder / name)
    if not waiting and not is_current(study):
        _remove_results(study)
    _prepare(study, waiting)
    print(
        f"study {study.name}: {len(study.configs)} runs on {dataset}, "
        f"{len(study.configs) - len(waiting)} of them finished already"
    )
    if study.folder == study.shipped and len(waiting) < len(study.configs):
        print("they are used as shipped, or as trained here since; RETRAIN=1 trains them anew")
    log = study.folder / "logs" / "snakemake.log"
    with open(log, "w") as output:
        process = psutil.Popen(
            _snakemake(
                study, keep_going, bool(waiting), cluster.options(study.root) if cluster else []
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=study.root,
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
    missing = [name for name in study.run_names if not is_finished(study.folder / name)]
    if missing:
        raise UserError(f"study {study.name}: not trained: {', '.join(missing)} ({log} says more)")


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


def _check_free(study: Study, waiting: list[str]) -> None:
    """No run that is to be trained may be in another process's hands."""
    for folder in (study.folder / name for name in waiting):
        if folder.is_dir():
            with sole_writer(folder):
                pass


def _snakemake(study: Study, keep_going: bool, anew: bool, where: list[str]) -> list[str]:
    """The command; the study's folder is locked already, so that a killed one locks nobody out.

    Args:
        study: which.
        keep_going: whether the rest goes on where a notebook fails.
        anew: whether there is something to train, and so summary, figures and report to be made
            again; Snakemake would be content with old ones.
        where: options that send the runs elsewhere.
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
        *(["--forcerun", "summary"] if anew else []),
        *where,
        *("--config", f"preset={study.name}", f"dataset={study.configs[0].dataset}"),
    ]


def _take_shipped(study: Study) -> None:
    """Copies the runs that are shipped with the project and that this study asks for too."""
    for config in study.configs:
        shipped, own = study.shipped / config.run_name, study.folder / config.run_name
        wanted = own != shipped and is_finished(shipped) and not is_finished(own)
        if wanted and read_config(shipped) == config:
            print(f"{config.run_name}: finished, copied from {shown(shipped)}")
            with sole_writer(own):
                for name in (*SUMMED, "config.json", "environment.json"):  # the last makes it whole
                    if (shipped / name).is_file():  # not every run is shipped with its weights
                        write_atomically(own / name, (shipped / name).read_bytes())
                remove_state(own / "resume.pt")


def _remove_run(folder: Path) -> None:
    """Removes a run that no process is writing."""
    with sole_writer(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be removed: {error.strerror}") from None


def _remove_results(study: Study) -> None:
    """Removes what was made of the runs as they were."""
    for path in (study.summary, study.report):
        path.unlink(missing_ok=True)


def _prepare(study: Study, waiting: list[str]) -> None:
    """Makes the folders, and removes what stands for runs that are still to be trained."""
    try:
        shutil.rmtree(study.folder / "logs", ignore_errors=True)
        (study.folder / "logs").mkdir(parents=True)
        study.figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{study.folder} cannot be written: {error.strerror}") from None
    if not os.access(study.folder, os.W_OK):
        raise UserError(f"{study.folder} cannot be written")
    for config in study.configs:
        if config.run_name in waiting:
            (study.folder / study.product(config)).unlink(missing_ok=True)
    if waiting:
        _remove_results(study)


def _failures(study: Study, log: Path) -> str:
    """What the failed notebooks said, a line each, and what the cluster did to the others."""
    lost = {
        name: what
        for name, what in lost_jobs(log.read_text(errors="replace")).items()
        if not is_finished(study.folder / name)
    }
    said = [
        _named(line.removeprefix("vqlib: "), path.stem, study)
        for path in sorted((study.folder / "logs").glob("*.log"))
        if path.stem not in lost
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("vqlib: ")
    ]
    said += [f"{name}: {what}" for name, what in lost.items()]
    again = "Once that is mended, the same command goes on where it stopped."
    if not said:  # not a notebook but Snakemake itself
        said = [*log.read_text(errors="replace").split("\n\n")[-1].splitlines(), f"(see {log})"]
    return "\n       ".join([f"study {study.name} failed:", *said, again])


def _named(message: str, log: str, study: Study) -> str:
    """Return a message from a log; that of `vqlib train` need not name the run."""
    return message if log in message or log not in study.run_names else f"{log}: {message}"
