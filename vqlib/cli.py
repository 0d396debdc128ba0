"""The command line: train, evaluate, bench, study, status, notebook, pdf."""

import argparse
import inspect
import json
import os
import re
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.paths import RUNS

BENCH = """\
Measures how fast vqlib is on this machine, beside other ways to do the same:

  training a VQ-VAE     a plain PyTorch loop; pythae
  its quantizer         vector-quantize-pytorch
  SSIM                  a loop over scikit-image
  evaluation of a run, memory, growth with the number of images, a GPU if there is one

Prints a table, and writes it to benchmarks/results/ as JSON and Markdown. Images are CIFAR-10
where it can be had, else crops of photographs; the table says which. Let nothing else run
meanwhile. pythae and vector-quantize-pytorch are left out unless they are installed:

  .venv/bin/pip install --editable ".[bench]"
"""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; a `UserError` ends as one line on standard error and exit code 1."""
    options = _parser().parse_args(arguments)
    _end_like_ctrl_c("SIGTERM", "SIGHUP")
    try:
        options.command(options)
    except UserError as error:
        print(f"vqlib: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # whoever read what is printed has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"vqlib: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"vqlib: interrupted; {options.interrupted}", file=sys.stderr)
        sys.exit(130)


def _end_like_ctrl_c(*names: str) -> None:
    """Signals that stop a process end it in order; those that nohup ignores stay ignored."""
    for number in (getattr(signal, name, None) for name in names):
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (--help shows what there is)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vqlib",
        description="VAE and VQ-VAE on small images. `vqlib COMMAND --help` says more of each.",
    )
    parser.set_defaults(interrupted="the same command goes on from the last epoch")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    train = commands.add_parser(
        "train",
        help="train a model, or go on with an interrupted run",
        description="Trains a model and prints its test figures; an interrupted run goes on where "
        "it was, a finished one is not trained again.",
    )
    train.add_argument("model", help="vae or vqvae")
    for name, (default, comment) in _config_options().items():
        option = "--" + name.replace("_", "-")
        train.add_argument(option, dest=name, metavar="…", help=f"{comment} (default: {default})")
    train.add_argument(
        "--results",
        default=RUNS,
        type=Path,
        help="where run folders go (default: results/runs)",
        metavar="…",
    )
    train.add_argument(
        "--device", default="auto", help="auto, cpu or cuda (default: auto)", metavar="…"
    )
    train.add_argument("--retrain", action="store_true", help="train even where a run is shipped")
    train.set_defaults(command=_train)

    evaluate = commands.add_parser(
        "evaluate",
        help="evaluate a finished run's weights anew",
        description="Prints a finished run's test figures, computed anew from its weights.",
    )
    evaluate.add_argument("run", help="run folder, such as results/runs/vqvae-photos-b64-e2-s0")
    evaluate.set_defaults(command=_evaluate)

    bench = commands.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description=BENCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "--quick",
        action="store_true",
        help="fewer images and repeats, no time to quality: under 3 minutes on two cores, "
        "where all of it takes about 45",
    )
    bench.set_defaults(command=_bench, interrupted="nothing was written")

    study = commands.add_parser(
        "study",
        help="run a preset: all its trainings, figures and report",
        description="Trains what a preset asks for, draws the figures and writes the report. What "
        "is finished already is used as it is.",
    )
    study.add_argument("preset", help="quick, paper or smoke: a file in presets/")
    study.add_argument("--keep-going", action="store_true", help="go on when a notebook fails")
    study.add_argument("--retrain", action="store_true", help="delete the preset's runs first")
    study.add_argument("--executor", default="local", help="local or slurm", metavar="…")
    study.set_defaults(command=_study)

    status = commands.add_parser(
        "status",
        help="which runs are under way, and how far they are",
        description="Prints epoch, losses and time left of each run under way in results/.",
    )
    status.set_defaults(command=_status)

    notebook = commands.add_parser(
        "notebook",
        help="run a notebook; unknown parameters are errors",
        description="Runs a notebook as papermill does, but checks its parameters before.",
    )
    notebook.add_argument("source", type=Path, help="the notebook, which stays as it is")
    notebook.add_argument("output", type=Path, help="the executed notebook")
    notebook.add_argument("--timeout", type=int, metavar="SECONDS", help="that a cell may run")
    notebook.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebook; may be given again",
    )
    notebook.set_defaults(command=_notebook)

    pdf = commands.add_parser(
        "pdf",
        help="turn an executed notebook into a PDF",
        description="Writes a notebook, with the outputs that it holds, as a PDF; without TeX.",
    )
    pdf.add_argument("notebook", type=Path, help="an executed notebook")
    pdf.add_argument("output", type=Path, help="the PDF")
    pdf.set_defaults(command=_pdf)
    return parser


def _config_options() -> dict[str, tuple[object, str]]:
    """Default and comment of each field of `TrainConfig` but the model."""
    comments = dict(re.findall(r"^    (\w+): .*?#\s*(.*)$", inspect.getsource(TrainConfig), re.M))
    return {f.name: (f.default, comments[f.name]) for f in fields(TrainConfig) if f.name != "model"}


def _train(options: argparse.Namespace) -> None:
    from vqlib.system import processes
    from vqlib.training import fit

    given = {name: getattr(options, name) for name in ("model", *_config_options())}
    with processes.group():
        config = TrainConfig.from_dict({k: v for k, v in given.items() if v is not None})
        run = fit(config, results=options.results, device=options.device, retrain=options.retrain)
        if processes.is_first():
            print(json.dumps(run.evaluation, indent=2))
            print(f"run folder: {run.folder}")


def _evaluate(options: argparse.Namespace) -> None:
    from vqlib.evaluation import evaluate_run

    print(json.dumps(evaluate_run(options.run), indent=2))


def _bench(options: argparse.Namespace) -> None:
    from vqlib.bench.measure import FULL, QUICK, run

    run(QUICK if options.quick else FULL)


def _study(options: argparse.Namespace) -> None:
    from vqlib.study import run_study

    run_study(options.preset, options.keep_going, options.retrain, options.executor)


def _status(options: argparse.Namespace) -> None:
    from vqlib.study.status import print_status

    print_status()


def _notebook(options: argparse.Namespace) -> None:
    from vqlib.documents.notebook import run_notebook

    run_notebook(options.source, options.output, dict(options.p), options.timeout)


def _pdf(options: argparse.Namespace) -> None:
    from vqlib.documents.notebook import export_pdf

    export_pdf(options.notebook, options.output)
