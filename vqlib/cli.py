"""The command line: train, evaluate, encode, decode, prior, sample, study and more."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import vqlib.bench
import vqlib.generation
from vqlib.config import TrainConfig, settings_of
from vqlib.errors import UserError
from vqlib.options import given_settings, setting_arguments, training_arguments
from vqlib.paths import RUNS

RESUME = "run the same command again to resume"
NOTHING = "nothing was written"


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a `UserError` ends as one line on standard error and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments).parse_args(arguments)
    _end_like_ctrl_c("SIGTERM", "SIGHUP")
    try:
        options.run(options)
    except BrokenPipeError:  # whoever read what is printed has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError) as error:
        print(f"vqlib: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"vqlib: interrupted; {options.interrupted}", file=sys.stderr)
        sys.exit(130)


def _end_like_ctrl_c(*names: str) -> None:
    """Make signals that stop a process end it in order; those that nohup ignores stay ignored."""
    for number in (getattr(signal, name, None) for name in names):
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)  # a mistyped option is no other one

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (see --help)\n")


@dataclass(frozen=True)
class Command:
    """A command of `vqlib`.

    Attributes:
        help: one line, for `vqlib --help`.
        description: for the command's own `--help`.
        arguments: adds the command's arguments to its parser.
        run: runs it with the parsed options.
        interrupted: what Ctrl-C leaves the user with.
    """

    help: str
    description: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    interrupted: str = RESUME


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of those commands only that are asked for.

    The arguments of `train` are those of the models, and to list these imports torch.
    """
    parser = _Parser(
        prog="vqlib",
        description="VAE and VQ-VAE on small images. `vqlib COMMAND --help` explains a command.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.help,
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in arguments:
            command.arguments(own)
        own.set_defaults(run=command.run, interrupted=command.interrupted)
    return parser


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from vqlib.models import MODELS, settings

    parser.add_argument("model", help=" or ".join(MODELS))
    takers = {model.title: settings(name) for name, model in MODELS.items()}
    setting_arguments(parser, TrainConfig, takers, ("model",))
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out pictures that cannot be read"
    )
    training_arguments(parser, RUNS, "run")


def _train(options: argparse.Namespace) -> None:
    from vqlib.system import processes
    from vqlib.training import fit

    with processes.group():
        config = TrainConfig.from_dict(given_settings(options, TrainConfig))
        _check_own(config)
        run = fit(
            config,
            results=options.results,
            device=options.device,
            retrain=options.retrain,
            skip_unreadable=options.skip_unreadable or None,
        )
        if processes.is_first():
            print(json.dumps(run.evaluation, indent=2))
            print(f"run folder: {run.folder}")


def _check_own(config: TrainConfig) -> None:
    """Refuse a changed setting of other models: it would give the same run a second name."""
    own = ("model", *settings_of(config.model))
    for field in fields(TrainConfig):
        if field.name not in own and getattr(config, field.name) != field.default:
            option = "--" + field.name.replace("_", "-")
            raise UserError(f"{option} is not a setting of {config.model} (see vqlib train --help)")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder", metavar="run", help="such as results/paper/vae-cifar10-b16-e40-s0"
    )


def _evaluate(options: argparse.Namespace) -> None:
    from vqlib.runs import evaluate_run

    print(json.dumps(evaluate_run(options.run_folder), indent=2))


def _encode_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder", metavar="run", help="such as results/paper/vqvae-cifar10-b128-e40-s0"
    )
    parser.add_argument(
        "pictures",
        nargs="*",
        type=Path,
        help="picture files, and folders of them; without any, the test images of the run",
    )
    parser.add_argument(
        "--prior", metavar="RUN", help="a prior to code with, for fewer bits in more time"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the file to write"
    )


def _encode(options: argparse.Namespace) -> None:
    from vqlib.rates import encode_pictures

    figures = encode_pictures(options.run_folder, options.pictures, options.output, options.prior)
    print(json.dumps(figures, indent=2))
    print(f"written: {options.output}")


def _decode_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="run", help="the run that encoded the file")
    parser.add_argument("file", type=Path, help="a file that `vqlib encode` wrote")
    parser.add_argument("--prior", metavar="RUN", help="the prior that it was encoded with, if any")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FOLDER", help="a new or empty folder"
    )


def _decode(options: argparse.Namespace) -> None:
    from vqlib.rates import decode_pictures

    count = decode_pictures(options.run_folder, options.file, options.output, options.prior)
    print(f"written: {count:,} PNG files in {options.output}")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick",
        action="store_true",
        help="use fewer images and repeats, and leave out the time to quality",
    )


def _bench(options: argparse.Namespace) -> None:
    from vqlib.bench.measure import FULL, QUICK, run

    run(QUICK if options.quick else FULL)


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", help="quick, paper or smoke: the name of a file in presets/")
    parser.add_argument("--keep-going", action="store_true", help="go on if a notebook fails")
    parser.add_argument("--retrain", action="store_true", help="delete the preset's runs first")
    parser.add_argument("--executor", default="local", help="local or slurm", metavar="…")


def _study(options: argparse.Namespace) -> None:
    from vqlib.study import run_study

    run_study(options.preset, options.keep_going, options.retrain, options.executor)


def _status(options: argparse.Namespace) -> None:
    from vqlib.study.status import print_status

    print_status()


def _explorer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folders",
        metavar="run",
        nargs="+",
        help="such as results/paper/vae-cifar10-b256-e40-s0; a VAE and a VQ-VAE make a good pair",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="such as explorer.html"
    )


def _explorer(options: argparse.Namespace) -> None:
    from vqlib.page import write_page
    from vqlib.runs import load_run

    write_page([load_run(folder) for folder in options.run_folders], options.output)
    size = options.output.stat().st_size / 1e6
    print(f"written: {options.output} ({size:.1f} MB); open it in any browser")


def _notebook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="the notebook (not changed)")
    parser.add_argument("output", type=Path, help="the executed notebook")
    parser.add_argument(
        "--timeout", type=int, metavar="SECONDS", help="how long a cell may run (default: forever)"
    )
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebook; may be repeated",
    )


def _notebook(options: argparse.Namespace) -> None:
    from vqlib.study.notebook import run_notebook

    run_notebook(options.source, options.output, dict(options.p), options.timeout)


def _pdf_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", type=Path, help="the notebook, with its outputs")
    parser.add_argument("output", type=Path, help="the PDF")
    parser.add_argument(
        "--strict", action="store_true", help="fail if a cell has not run or anything is missing"
    )
    parser.add_argument("--no-code", action="store_true", help="leave out the code")


def _pdf(options: argparse.Namespace) -> None:
    from vqlib.documents.notebook import export_pdf

    export_pdf(options.notebook, options.output, options.strict, not options.no_code)


COMMANDS = {
    "train": Command(
        "train a model, or resume an interrupted run",
        "Train a model and print its test results. An interrupted run resumes after its last\n"
        "epoch; a finished run is not trained again.",
        _train_arguments,
        _train,
    ),
    "evaluate": Command(
        "evaluate a finished run again, from its weights",
        "Compute a finished run's test results from its weights, and print them.",
        _evaluate_arguments,
        _evaluate,
    ),
    "encode": Command(
        "write pictures to a file as the codes of a VQ-VAE",
        "Write pictures to a file as the entropy-coded codes of a trained VQ-VAE, and print what\n"
        "they cost and lose. Pictures of another size are centre-cropped and resized to 32×32.\n\n"
        "The printed bits are bits an image: `coded_bits` of the codes in the file, `ideal_bits`\n"
        "of a perfect coder with the same probabilities, `entropy_bits` by the frequencies of\n"
        "these very codes, `raw_bits` of codes of equal length. Names and header count in\n"
        "`file_bytes` only. The PSNR is that of the decoded images, in dB.",
        _encode_arguments,
        _encode,
        interrupted=NOTHING,
    ),
    "decode": Command(
        "turn a file of codes back into pictures",
        "Turn a file that `vqlib encode` wrote back into PNG files. Each has the name of its\n"
        "original; test images of a run are numbered.",
        _decode_arguments,
        _decode,
        interrupted=NOTHING,
    ),
    "prior": Command(
        "train a prior over the codes of a VQ-VAE, to generate images",
        "Train a prior over the codes of a trained VQ-VAE and print its test results in bits a\n"
        "code, with those of simpler models of the codes. If the images have classes, it learns\n"
        "the codes of each class. An interrupted run resumes after its last epoch.",
        lambda parser: vqlib.generation.prior_arguments(parser),
        lambda options: vqlib.generation.run_prior(options),
    ),
    "sample": Command(
        "generate images with a trained prior",
        "Write images that a prior generates as PNG files, and all of them in sheet.png.",
        lambda parser: vqlib.generation.sample_arguments(parser),
        lambda options: vqlib.generation.run_sample(options),
        interrupted="give a new folder to start again",
    ),
    "quality": Command(
        "measure how much generated images resemble real ones",
        "Sample each prior, and VAEs to compare with. Write bits per dimension, Fréchet\n"
        "distances, density, coverage and nearest training images to files that notebook 06 reads.",
        lambda parser: vqlib.generation.quality_arguments(parser),
        lambda options: vqlib.generation.run_quality(options),
        interrupted="nothing is finished; run the same command again",
    ),
    "bench": Command(
        "measure speed and memory on this machine",
        vqlib.bench.__doc__ or "",
        _bench_arguments,
        _bench,
        interrupted=NOTHING,
    ),
    "study": Command(
        "run a preset: train its models, draw the figures, write the report",
        "Train what a preset asks for, draw the figures and write the report. Finished runs are\n"
        "used as they are.",
        _study_arguments,
        _study,
    ),
    "status": Command(
        "list the runs under way and how far they are",
        "Print epoch, losses and time left of each run under way in results/.",
        lambda parser: None,
        _status,
    ),
    "explorer": Command(
        "make a page in which trained models run in a browser",
        "Write one HTML file in which trained models run in any browser, without a server or a\n"
        "network: draw on a picture, paint with codes, move latents.",
        _explorer_arguments,
        _explorer,
        interrupted="nothing was written",
    ),
    "notebook": Command(
        "run a notebook; unknown parameters are errors",
        "Run a notebook as papermill does, but check its parameters first.",
        _notebook_arguments,
        _notebook,
    ),
    "pdf": Command(
        "turn an executed notebook into a PDF",
        "Convert a notebook and its stored outputs to a PDF, without TeX.",
        _pdf_arguments,
        _pdf,
    ),
}
