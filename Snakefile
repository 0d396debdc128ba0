# The study as a graph of notebooks: `vqlib study quick` runs it here; plain Snakemake does too:
#     snakemake --cores all --config preset=quick
import shlex
import sys

from vqlib.paths import ROOT
from vqlib.study import NOTEBOOKS, load_study, write_summary

study = load_study(config.get("preset", "quick"), config.get("dataset"))
RUN_NOTEBOOK = f"OMP_NUM_THREADS={{threads}} {sys.executable} -m vqlib notebook"


def arguments(parameters):
    return " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in parameters.items())


def train_notebook(wildcards):
    return NOTEBOOKS[wildcards.run.split("-")[0]]


workdir: study.folder


wildcard_constraints:
    run="(vae|vqvae)-.*",
    name="03_ssim_comparison|04_loss_analysis",


rule all:
    input:
        study.report,


rule train:
    input:
        train_notebook,
    output:
        "notebooks/{run}.ipynb",
    params:
        lambda wildcards: arguments(study.arguments(wildcards.run)),
    log:
        "logs/{run}.log",
    threads: 1
    shell:
        RUN_NOTEBOOK + " {input} {output} {params} > {log} 2>&1"


rule summary:
    input:
        expand("notebooks/{run}.ipynb", run=study.run_names),
    output:
        "summary.csv",
    run:
        write_summary(study)


rule compare:
    input:
        ROOT / "notebooks" / "{name}.ipynb",
        "summary.csv",
    output:
        "notebooks/{name}.ipynb",
    params:
        arguments({"results": str(study.folder), "figures_folder": str(study.figures)}),
    log:
        "logs/{name}.log",
    shell:
        RUN_NOTEBOOK + " {input[0]} {output} {params} > {log} 2>&1"


rule report:
    input:
        ROOT / "report" / "report.ipynb",
        ROOT / "report" / "references.bib",
        "notebooks/03_ssim_comparison.ipynb",
        "notebooks/04_loss_analysis.ipynb",
    output:
        "notebooks/report.ipynb",
        study.report,
    params:
        arguments({"results": str(study.folder), "figures_folder": str(study.figures)}),
    log:
        "logs/report.log",
    shell:
        RUN_NOTEBOOK + " {input[0]} {output[0]} {params} > {log} 2>&1 && "
        "cp {input[1]} notebooks/ && "
        f"{sys.executable} -m vqlib pdf {{output}} >> {{log}} 2>&1"
