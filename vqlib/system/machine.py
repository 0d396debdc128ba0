"""The machine: its processor and versions, the device and the arithmetic to compute with."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vqlib.errors import UserError
from vqlib.paths import LIBRARY, is_project
from vqlib.system import processes

# Options of glibc's `mallopt`, by their numbers in malloc.h:
KEEP_FREED_MEMORY = (
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: how much may lie idle
    (-2, 2**26),  # M_TOP_PAD: how much more to ask for each time
    (-4, 0),  # M_MMAP_MAX: how many arrays may have a mapping of their own
)
PACKAGES = ("torchvision", "numpy", "scikit-image", "pandas")


def environment() -> dict[str, Any]:
    """Return what this process runs on: versions, processor, threads and git commit."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
    }


def cores() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> float | None:
    """Return the most resident memory this process has had, in MB; None if unknown."""
    try:
        status = Path("/proc/self/status").read_text("utf-8", "replace")
    except OSError:
        return None
    # Not `getrusage`: on Linux its figure includes the process that started this one.
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(peak[1]) * 1024 / 1e6 if peak else None


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its own next arrays; glibc only.

    Otherwise each step of a training gives its large arrays back to the system, which clears that
    memory before it hands it out again. At batch 256, this takes a tenth of the time.
    """
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another system, another C library
        return
    for option, value in KEEP_FREED_MEMORY:
        set_option(option, value)


def choose_device(name: str) -> torch.device:
    """Return this process's device; all processes that train together have the same kind.

    Args:
        name: `cpu`, `cuda`, or `auto`: CUDA if there is a GPU.

    Raises:
        UserError: if the name is unknown, there is no GPU, or only some processes have one.
    """
    devices = processes.each(lambda: _device(name))
    if len({device.type for device in devices}) > 1:
        raise UserError("some of the processes have a GPU and some have none: use --device cpu")
    return _device(name)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UserError(f"unknown device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("you asked for device cuda, but torch finds no GPU: use auto or cpu")
    if name == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", processes.gpu())
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = False  # else float32 convolutions have 10 bits of mantissa
    return device


def device_name(device: torch.device) -> str:
    """Return `cpu` or the GPU's name."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


@processes.on_first
def choose_precision(name: str, device: torch.device) -> str:
    """Return `float32` or `bfloat16`; `auto` is bfloat16 if the hardware computes in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _git_commit() -> str:
    if shutil.which("git") is None or not is_project(LIBRARY):  # else that of a stranger's folder
        return "unknown"
    command = ["git", "-C", str(LIBRARY), "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return result.stdout.strip() or "unknown"
