"""The results in the README, put there by the full study."""

from pathlib import Path

import pandas as pd

from vqlib.claims import CLOSE, audit_sentence, claim_table
from vqlib.files import write_atomically
from vqlib.report import comparison_sentence, equal_steps_sentence, rate_sentence
from vqlib.runs import Run
from vqlib.wording import rows

MARKS = ("<!-- results: made from results/paper -->\n", "<!-- end of results -->\n")


def results_section(summary: pd.DataFrame, runs: list[Run]) -> str:
    """What the study found, the original report's claims beside it, in Markdown."""
    histories = {
        run.config.batch_size: run.history for run in reversed(runs) if run.config.model == "vqvae"
    }
    paragraphs = [
        f"{comparison_sentence(summary)} {rate_sentence(summary)}",
        equal_steps_sentence(histories),
        "What the original report states, and what these runs give (*about* holds within "
        f"{CLOSE:.0%}; SSIM is that of Wang et al., per image):",
        "\n".join(rows(claim_table(summary))),
        audit_sentence(runs),
    ]
    return "\n\n".join(paragraphs) + "\n"


def write_results(readme: Path, summary: pd.DataFrame, runs: list[Run]) -> None:
    """Puts the section into the README, between its two marks."""
    start, end = MARKS
    before, rest = readme.read_text().split(start)
    after = rest.split(end)[1]
    text = f"{before}{start}\n{results_section(summary, runs)}\n{end}{after}"
    write_atomically(readme, text.encode())
