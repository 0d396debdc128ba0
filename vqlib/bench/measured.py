"""What the benchmark measures, in words: for `vqlib bench --help` and docs/speed.md."""

from itertools import groupby

MEASURED = (  # what, and what it is compared with
    ("Training a VQ-VAE", "a plain PyTorch loop"),
    ("Training a VQ-VAE", "pythae"),
    ("The quantizer, forward and backward", "vector-quantize-pytorch"),
    ("SSIM of many pairs of images", "a loop over scikit-image"),
    ("Reading a folder of small pictures, and again", "torchvision's ImageFolder"),
    ("The full evaluation of a run", ""),
    ("Images to a file of codes and back, with memory", ""),
    (
        "Sampling images from a prior over codes",
        "pythae's PixelCNN, which runs its whole network for each code",
    ),
    ("Speed and memory with a quarter, half and all of the images", ""),
    ("Training both models on a GPU, if there is one", "the plain loop (VQ-VAE only)"),
    ("Training until the test error is low; not with --quick", "the plain loop"),
)
LINKS = {
    "pythae": "https://github.com/clementchadebec/benchmark_VAE",
    "vector-quantize-pytorch": "https://github.com/lucidrains/vector-quantize-pytorch",
}


def help_text() -> str:
    """Return what `vqlib bench --help` says."""
    width = max(len(what) for what, _ in MEASURED)
    lines = [
        f"    {what:<{width}}   {'; '.join(other for _, other in group)}".rstrip()
        for what, group in groupby(MEASURED, key=lambda row: row[0])
    ]
    return "\n".join(
        [
            "Measure how fast vqlib is on this machine, and compare it with other ways to do the",
            "same work.",
            "",
            *lines,
            "",
            "The benchmark prints a table and writes it to benchmarks/results/, as JSON and as",
            "Markdown. It uses the images of CIFAR-10 if they are available, otherwise crops of",
            "photographs; the table says which. Run nothing else on the machine at the same time.",
            f"{' and '.join(LINKS)} are measured only if they are installed:",
            "",
            '    .venv/bin/pip install --editable ".[bench]"',
        ]
    )


def as_markdown() -> str:
    """Return a table of what is measured, for docs/speed.md."""
    rows = [(what, f"[{other}]({LINKS[other]})" if other in LINKS else other)
            for what, other in MEASURED]  # fmt: skip
    return "\n".join(
        ["| What | Compared with |", "| :-- | :-- |", *(f"| {a} | {b} |" for a, b in rows)]
    )
