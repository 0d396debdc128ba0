"""The commands `vqlib study`, `vqlib status`, `vqlib runs` and `vqlib notebook`."""

import argparse
import sys

from vqlib.paths import expanded


def study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib study`."""
    parser.add_argument("preset", help="quick, paper or smoke: the name of a file in presets/")
    parser.add_argument("--keep-going", action="store_true", help="go on if a notebook fails")
    parser.add_argument(
        "--retrain", action="store_true", help="train its runs again; earlier ones are set aside"
    )
    parser.add_argument("--executor", default="local", help="local or slurm", metavar="…")


def run_a_study(options: argparse.Namespace) -> None:
    """Run `vqlib study`."""
    from vqlib.study.run import run_study

    run_study(options.preset, options.keep_going, options.retrain, options.executor)


def run_status(options: argparse.Namespace) -> None:
    """Run `vqlib status`."""
    from vqlib.study.status import print_status

    print_status()


def runs_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib runs`."""
    parser.add_argument(
        "folders",
        nargs="*",
        type=expanded,
        metavar="folder",
        help="runs, and folders of them (default: all in results/)",
    )


def run_runs(options: argparse.Namespace) -> None:
    """Run `vqlib runs`."""
    from vqlib.study.summary import list_runs

    table, problems = list_runs(options.folders)
    print("no finished runs" if table.empty else table.to_string(index=False))
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)


def notebook_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib notebook`."""
    parser.add_argument("source", type=expanded, help="the notebook (not changed)")
    parser.add_argument("output", type=expanded, help="the executed notebook")
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


def run_a_notebook(options: argparse.Namespace) -> None:
    """Run `vqlib notebook`."""
    # jsonschema would spend a second on a parser of web addresses; no notebook needs it. This
    # works because nothing has imported jsonschema yet.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    from vqlib.study.notebook import run_notebook

    run_notebook(options.source, options.output, dict(options.p), options.timeout)
