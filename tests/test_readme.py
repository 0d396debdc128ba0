"""The README shows the results that are shipped."""

from vqlib.paths import ROOT, SHIPPED
from vqlib.report import readme
from vqlib.report.claims import claim_table
from vqlib.report.words import rows
from vqlib.study import load_runs, load_summary


def normal():
    return load_summary(ROOT / "results/codebook")


def test_the_sections_go_between_their_marks_and_nothing_else_changes(tmp_path):
    summary = load_summary(SHIPPED)
    runs = load_runs(SHIPPED, summary)
    path = tmp_path / "README.md"
    (claim, end_of_claim), (results, end) = (
        (readme.START.format(name=name), readme.END.format(name=name))
        for name in ("claim", "results")
    )
    path.write_text(f"before\n{claim}stale\n{end_of_claim}between\n{results}stale\n{end}after\n")
    for _ in range(2):
        readme.write_results(path, summary, runs, normal())
    text = path.read_text()
    assert text.startswith(f"before\n{claim}\n**The VQ-VAE")
    assert f"\n{end_of_claim}between\n{results}\n" in text
    assert text.endswith(f"\n{end}after\n")
    assert "stale" not in text
    assert text.count("\n".join(rows(claim_table(summary)))) == 1


def test_a_changed_number_changes_the_section():
    summary = load_summary(SHIPPED)
    runs = load_runs(SHIPPED, summary)
    summary.loc[summary.model == "vqvae", "test_ssim"] = 0.1234
    section = readme.results_section(summary, runs, normal())
    assert "0.123 against" in readme.claim(summary)
    assert "| above 0.96 | 0.123 |" in section


def test_the_project_s_readme_has_the_shipped_results():
    summary = load_summary(SHIPPED)
    shown = (ROOT / "README.md").read_text()
    assert readme.claim(summary) in shown
    section = readme.results_section(summary, load_runs(SHIPPED, summary), normal())
    assert section in shown
