# The study as a graph of its runs, figures and report. `vqlib study quick` runs it; so does
#     snakemake --cores all --config preset=quick
import json
import re
import shlex
import sys
from pathlib import Path

from vqlib.picture import FORMATS
from vqlib.study import load_study
from vqlib.study.presets import FULL
from vqlib.system.machine import cores

ROOT = Path(workflow.basedir).resolve()
study = load_study(str(config.get("preset", "quick")), config.get("dataset"), ROOT)
RUNS = {run.run_name: run for run in study.configs}
PRIORS = {prior.run_name: prior for prior in study.priors}
PYTHON = shlex.quote(sys.executable)
VQLIB = f"OMP_NUM_THREADS={{threads}} {PYTHON} -m vqlib"
TRAIN = "VQLIB_ASKED={params.asked:q} " + VQLIB  # `fit` trains this run and no other
HOUR = "--timeout 3600"  # enough for any cell that trains nothing
README = [ROOT / "README.md", "notebooks/README.updated"]


def text(value):
    """Return a value as a shell passes it on; a list becomes text such as 8,5,5."""
    return shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))


def parameters(values):
    """Return the options of `vqlib notebook` that pass these values."""
    return " ".join(f"-p {name} {text(value)}" for name, value in values.items())


def options(values):
    """Return the options of `vqlib train` that pass these values."""
    return " ".join(f"--{name.replace('_', '-')}={text(value)}" for name, value in values.items())


def longest_first(wildcards):
    """Return the priority of a run: if a long one started last, cores would wait for it.

    `vqlib study` passes the expected seconds. Without them, the runs start in any order.
    """
    return config.get("expected_seconds", {}).get(wildcards.run, 0)


def figure_files(*names):
    """Return the files of figures with these names."""
    return [study.figures / f"{name}.{suffix}" for name in names for suffix in FORMATS]


def asked(wildcards):
    """Return the config of a run, which its training is compared with."""
    return json.dumps(RUNS[wildcards.run].to_dict())


WHERE = parameters({"results": study.folder, "figures_folder": study.figures})


workdir: study.folder


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    prior="|".join(map(re.escape, PRIORS)) or "none",


localrules:  # they take seconds; only training is worth a job on a cluster
    all,
    summary,
    compare,
    losses,
    rates,
    quality,
    generation,
    report,
    readme,


rule all:
    input:
        study.report,
        README if study.name == FULL else [],


# Training also fills the run's folder. That is not declared as output: Snakemake would delete it
# before it runs the rule again, and an interrupted run could not be resumed.
rule train_in_notebook:
    input:
        lambda wildcards: study.notebook(RUNS[wildcards.run]),
    output:
        "notebooks/{run}.ipynb",
    params:
        values=lambda wildcards: parameters(study.arguments(RUNS[wildcards.run])),
        asked=asked,
    log:
        "logs/{run}.log",
    priority: longest_first
    threads: study.job.cores
    resources:
        mem_mb=study.job.memory,
        runtime=study.job.minutes,
        gpu=study.job.gpus,
    shell:
        TRAIN + " notebook {input:q} {output:q} {params.values} > {log:q} 2>&1"


rule train:  # a model without a notebook
    output:
        "notebooks/{run}.txt",
    params:
        model=lambda wildcards: RUNS[wildcards.run].model,
        options=lambda wildcards: options(study.arguments(RUNS[wildcards.run])),
        asked=asked,
    log:
        "logs/{run}.log",
    priority: longest_first
    threads: study.job.cores
    resources:
        mem_mb=study.job.memory,
        runtime=study.job.minutes,
        gpu=study.job.gpus,
    shell:
        TRAIN + " train {params.model} {params.options} > {output:q} 2> {log:q}"


rule summary:
    input:
        study.products,
    output:
        study.summary,
    params:
        study=[study.name, study.configs[0].dataset, ROOT],
    log:
        "logs/summary.log",
    shell:  # for a `run:`, Snakemake would plan the whole study again
        PYTHON + " -m vqlib.study.summary {params.study:q} > {log:q} 2>&1"


rule compare:
    input:
        ROOT / "notebooks" / "03_ssim_comparison.ipynb",
        study.summary,
    output:
        "notebooks/03_ssim_comparison.ipynb",
        figure_files("figure1_reconstructions", "figure2_ssim"),
    log:
        "logs/03_ssim_comparison.log",
    shell:
        VQLIB + " notebook {HOUR} {input[0]:q} {output[0]:q} {WHERE} > {log:q} 2>&1"


rule losses:
    input:
        ROOT / "notebooks" / "04_loss_analysis.ipynb",
        study.summary,
    output:
        "notebooks/04_loss_analysis.ipynb",
        figure_files("figure3_loss"),
    params:
        model=study.loss_model,
    log:
        "logs/04_loss_analysis.log",
    shell:
        VQLIB + " notebook {HOUR} {input[0]:q} {output[0]:q} {WHERE} -p model {params.model} "
        "> {log:q} 2>&1"


# It also fills rates.csv and references.json in the folder of the runs, unless they are there. As
# with the runs, these are not declared: Snakemake would delete them first.
rule rates:
    input:
        ROOT / "notebooks" / "05_equal_rate.ipynb",
        study.summary,
    output:
        "notebooks/05_equal_rate.ipynb",
        figure_files("figure4_rate_distortion"),
    params:
        where=parameters({"results": study.rates, "figures_folder": study.figures}),
    log:
        "logs/05_equal_rate.log",
    threads: cores()  # the reference systems of other images take minutes
    shell:
        VQLIB + " notebook {HOUR} {input[0]:q} {output[0]:q} {params.where} > {log:q} 2>&1"


rule prior:
    input:
        lambda wildcards: study.product(study.coded),
    output:
        "notebooks/{prior}.txt",
    params:
        vqvae=lambda wildcards: study.folder / study.coded.run_name,
        options=lambda wildcards: options(study.prior_arguments(PRIORS[wildcards.prior])),
    log:
        "logs/{prior}.log",
    threads: study.job.cores
    resources:
        mem_mb=study.job.memory,
        runtime=study.job.minutes,
        gpu=study.job.gpus,
    shell:
        VQLIB + " prior {params.vqvae:q} {params.options} > {output:q} 2> {log:q}"


# It also fills the files of `vqlib quality` in the folder of the runs, unless they are there.
rule quality:
    input:
        expand("notebooks/{prior}.txt", prior=PRIORS),
        [study.product(run) for run in study.gaussian],
    output:
        "notebooks/quality.txt",
    params:
        priors=[study.folder / name for name in PRIORS],
        vaes=["--vae", *(study.folder / run.run_name for run in study.gaussian)]
        if study.gaussian
        else [],
        folder=study.folder,
    log:
        "logs/quality.log",
    shell:
        VQLIB + " quality {params.priors:q} {params.vaes:q} -o {params.folder:q} "
        "> {output:q} 2> {log:q}"


rule generation:
    input:
        ROOT / "notebooks" / "06_generation.ipynb",
        rules.quality.output,
    output:
        "notebooks/06_generation.ipynb",
        figure_files("figure5_samples", "figure6_likelihood"),
    log:
        "logs/06_generation.log",
    shell:
        VQLIB + " notebook {HOUR} {input[0]:q} {output[0]:q} {WHERE} > {log:q} 2>&1"


rule report:
    input:
        study.report_notebook,
        ROOT / "report" / "references.bib",
        rules.compare.output,
        rules.losses.output,
        rules.rates.output if study.rates else [],
        rules.generation.output if study.priors else [],
    output:
        f"notebooks/{study.report_notebook.name}",
        "notebooks/references.bib",
        study.report,
    log:
        "logs/report.log",
    shell:
        "(" + VQLIB + " notebook {HOUR} {input[0]:q} {output[0]:q} {WHERE} && "
        "cp {input[1]:q} {output[1]:q} && "
        + VQLIB + " pdf --strict {output[0]:q} {output[2]:q}) > {log:q} 2>&1"


# The numbers in the project's README, made by the code in its comments. If that fails, Snakemake
# restores the README; the second file is then missing, so that the rule runs again next time.
rule readme:
    input:
        study.summary,
        rules.compare.output,
    output:
        update(README[0]),
        touch(README[1]),
    log:
        "logs/README.log",
    shell:
        "(cd {ROOT:q} && " + PYTHON + " -m cogapp -r README.md) > {log:q} 2>&1 || "
        '(echo "vqlib: README.md: $(tail -n 1 {log:q})" >> {log:q}; exit 1)'
