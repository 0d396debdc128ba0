"""The results in the README, put there by the full study."""

from pathlib import Path

import pandas as pd

from vqlib.report.claims import CLOSE, audit_sentence, claim_table, start_sentence
from vqlib.report.tables import (
    comparison_sentence,
    equal_steps_sentence,
    mean_histories,
    rate_sentence,
    seeds_sentence,
)
from vqlib.report.words import rows
from vqlib.runs import Run
from vqlib.system.files import write_atomically

START, END = "<!-- {name}: made from results/paper -->\n", "<!-- end of {name} -->\n"


def claim(summary: pd.DataFrame) -> str:
    """What the study found, in a sentence or two."""
    return f"**{comparison_sentence(summary)}**\n"


def results_section(summary: pd.DataFrame, runs: list[Run], normal: pd.DataFrame) -> str:
    """What the study found beyond that, the original report's claims beside it, in Markdown."""
    paragraphs = [
        rate_sentence(summary),
        seeds_sentence(summary),
        equal_steps_sentence(mean_histories(runs)),
        "What the original report states, and what these runs give (*about* holds within "
        f"{CLOSE:.0%}; SSIM is that of Wang et al., per image):",
        "\n".join(rows(claim_table(summary))),
        start_sentence(summary, normal),
        audit_sentence(runs),
    ]
    return "\n\n".join(paragraphs) + "\n"


def write_results(
    readme: Path, summary: pd.DataFrame, runs: list[Run], normal: pd.DataFrame
) -> None:
    """Puts claim and section into the README, each between its two marks.

    Args:
        summary, runs: of the full study.
        normal: see `claims.start_table`.
    """
    text = readme.read_text()
    sections = {"claim": claim(summary), "results": results_section(summary, runs, normal)}
    for name, made in sections.items():
        start, end = START.format(name=name), END.format(name=name)
        before, rest = text.split(start)
        text = f"{before}{start}\n{made}\n{end}{rest.split(end)[1]}"
    write_atomically(readme, text.encode())
