# The study as a graph of notebooks: `vqlib study quick` runs it here; plain Snakemake does too:
#     snakemake --cores all --config preset=quick
import shlex
import sys

from vqlib.figures import FORMATS
from vqlib.paths import ROOT
from vqlib.report.readme import write_results
from vqlib.study import NOTEBOOKS, load_runs, load_study, load_summary, write_summary

study = load_study(str(config.get("preset", "quick")), config.get("dataset"))
PYTHON = shlex.quote(sys.executable)
RUN_NOTEBOOK = f"OMP_NUM_THREADS={{threads}} {PYTHON} -m vqlib notebook"
HOUR = " --timeout 3600"  # no cell that trains nothing takes as long


def arguments(parameters):
    return " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in parameters.items())


WHERE = arguments({"results": study.folder, "figures_folder": study.figures})


def train_notebook(wildcards):
    return NOTEBOOKS[wildcards.run.split("-")[0]]


workdir: study.folder


localrules:  # they take seconds; only the runs are worth a job on a cluster
    all,
    summary,
    compare,
    losses,
    report,


wildcard_constraints:
    run="(vae|vqvae)-.*",


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
    threads: study.job.cores
    resources:
        mem_mb=study.job.memory,
        runtime=study.job.minutes,
        gpu=study.job.gpus,
    shell:
        RUN_NOTEBOOK + " {input:q} {output:q} {params} > {log:q} 2>&1"


rule summary:
    input:
        expand("notebooks/{run}.ipynb", run=study.notebooks),
    output:
        "summary.csv",
    run:
        write_summary(study)
        if study.name == "paper":
            summary = load_summary(study.folder)
            normal = load_summary(ROOT / "results/codebook")
            runs = load_runs(study.folder, summary)
            write_results(ROOT / "README.md", summary, runs, normal)


def figure_files(*names):
    return [study.figures / f"{name}.{suffix}" for name in names for suffix in FORMATS]


rule compare:
    input:
        ROOT / "notebooks" / "03_ssim_comparison.ipynb",
        "summary.csv",
    output:
        "notebooks/03_ssim_comparison.ipynb",
        figure_files("figure1_reconstructions", "figure2_ssim"),
    log:
        "logs/03_ssim_comparison.log",
    shell:
        RUN_NOTEBOOK + HOUR + " {input[0]:q} {output[0]:q} {WHERE} > {log:q} 2>&1"


rule losses:
    input:
        ROOT / "notebooks" / "04_loss_analysis.ipynb",
        "summary.csv",
    output:
        "notebooks/04_loss_analysis.ipynb",
        figure_files("figure3_loss"),
    log:
        "logs/04_loss_analysis.log",
    shell:
        RUN_NOTEBOOK + HOUR + " {input[0]:q} {output[0]:q} {WHERE} > {log:q} 2>&1"


rule report:
    input:
        ROOT / "report" / "report.ipynb",
        ROOT / "report" / "references.bib",
        rules.compare.output,
        rules.losses.output,
    output:
        "notebooks/report.ipynb",
        study.report,
    log:
        "logs/report.log",
    shell:
        RUN_NOTEBOOK + HOUR + " {input[0]:q} {output[0]:q} {WHERE} > {log:q} 2>&1 && "
        "cp {input[1]:q} notebooks/ && "
        f"{PYTHON} -m vqlib pdf {{output:q}} >> {{log:q}} 2>&1"
