"""The command line: train, evaluate, encode, decode, prior, sample, study and more."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import vqlib.generation
import vqlib.rates
import vqlib.study
from vqlib.bench.measured import help_text
from vqlib.config import TrainConfig, settings_of
from vqlib.errors import UserError
from vqlib.options import given_settings, setting_arguments, training_arguments
from vqlib.paths import RUNS, expanded
from vqlib.system.files import as_json
from vqlib.system.surroundings import have_a_home, name_the_user, print_anything

RESUME = "run the same command again to resume"
NOTHING = "nothing was written"


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a `UserError` ends as one line on standard error and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    print_anything()
    name_the_user()
    have_a_home()
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
    parser.add_argument("--version", action="version", version=f"vqlib {vqlib.__version__}")
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

    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
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
            print(as_json(run.evaluation))
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
    parser.add_argument(
        "--write", action="store_true", help="store the results in the run's folder"
    )


def _evaluate(options: argparse.Namespace) -> None:
    from vqlib.runs import evaluate_run

    print(as_json(evaluate_run(options.run_folder, options.write)))


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick",
        action="store_true",
        help="use fewer images and repeats, and leave out the time to quality",
    )


def _bench(options: argparse.Namespace) -> None:
    from vqlib.bench.measure import run
    from vqlib.bench.sizes import FULL, QUICK

    run(QUICK if options.quick else FULL)


def _explorer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folders",
        metavar="run",
        nargs="+",
        help="such as results/paper/vae-cifar10-b256-e40-s0; a VAE and a VQ-VAE make a good pair, "
        "and a prior over the codes of the VQ-VAE can join them",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=expanded, metavar="FILE", help="such as explorer.html"
    )


def _explorer(options: argparse.Namespace) -> None:
    from vqlib.generation import load_prior
    from vqlib.page import write_page
    from vqlib.runs import is_prior, load_run

    folders = map(expanded, options.run_folders)
    write_page(
        [load_prior(folder) if is_prior(folder) else load_run(folder) for folder in folders],
        options.output,
    )
    size = options.output.stat().st_size / 1e6
    print(f"written: {options.output} ({size:.1f} MB); open it in any browser")


def _pdf_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", type=expanded, help="the notebook, with its outputs")
    parser.add_argument("output", type=expanded, help="the PDF")
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
        "Compute a finished run's test results from its weights, and print them. With --write, a\n"
        "run of an older version gets the metrics that this version has.",
        _evaluate_arguments,
        _evaluate,
    ),
    "encode": Command(
        "write pictures to a file as the codes of a VQ-VAE",
        "Write pictures to a file as the entropy-coded codes of a trained VQ-VAE, and print how\n"
        "many bits they take and how much they lose. Pictures of another size are centre-cropped\n"
        "and resized to 32×32.\n\n"
        "All bits are bits an image: `coded_bits` of the codes in the file, `ideal_bits` of a\n"
        "perfect coder with the same probabilities, `entropy_bits` by the frequencies of these\n"
        "very codes, and `raw_bits` of codes of equal length. Only `file_bytes` counts names and\n"
        "header, too. The PSNR is that of the decoded images, in dB.",
        lambda parser: vqlib.rates.encode_arguments(parser),
        lambda options: vqlib.rates.run_encode(options),
        interrupted=NOTHING,
    ),
    "decode": Command(
        "turn a file of codes back into pictures",
        "Turn a file that `vqlib encode` wrote back into PNG files. Each has the name of its\n"
        "original; test images of a run are numbered.",
        lambda parser: vqlib.rates.decode_arguments(parser),
        lambda options: vqlib.rates.run_decode(options),
        interrupted=NOTHING,
    ),
    "reconstruct": Command(
        "write pictures as a model reconstructs them",
        "Write a trained model's reconstructions of pictures as PNG files, and print how good\n"
        "they are. Each has the name of its original; test images of a run are numbered.",
        lambda parser: vqlib.rates.reconstruct_arguments(parser),
        lambda options: vqlib.rates.run_reconstruct(options),
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
        help_text(),
        _bench_arguments,
        _bench,
        interrupted=NOTHING,
    ),
    "study": Command(
        "run a preset: train its models, draw the figures, write the report",
        "Train what a preset asks for, draw the figures and write the report. Finished runs are\n"
        "used as they are.",
        lambda parser: vqlib.study.study_arguments(parser),
        lambda options: vqlib.study.run_a_study(options),
    ),
    "status": Command(
        "list the runs under way and how far they are",
        "Print epoch, losses and time left of each run under way in results/.",
        lambda parser: None,
        lambda options: vqlib.study.run_status(options),
    ),
    "runs": Command(
        "list finished runs with their figures",
        "Print the test results of finished runs, and the bits that each spends on an image.",
        lambda parser: vqlib.study.runs_arguments(parser),
        lambda options: vqlib.study.run_runs(options),
    ),
    "explorer": Command(
        "make a page in which trained models run in a browser",
        "Write one HTML file in which trained models run in any browser, without a server or a\n"
        "network: draw on a picture, paint with codes, move latents, sample from a prior.",
        _explorer_arguments,
        _explorer,
        interrupted="nothing was written",
    ),
    "notebook": Command(
        "run a notebook; unknown parameters are errors",
        "Run a notebook as papermill does, but check its parameters first.",
        lambda parser: vqlib.study.notebook_arguments(parser),
        lambda options: vqlib.study.run_a_notebook(options),
    ),
    "pdf": Command(
        "turn an executed notebook into a PDF",
        "Convert a notebook and its stored outputs to a PDF, without TeX.",
        _pdf_arguments,
        _pdf,
    ),
}
