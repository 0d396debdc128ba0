"""The Jupyter kernel that runs a study's notebooks: this interpreter's, without user settings."""

import sys
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec


class OwnKernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernels, IPython profile and matplotlibrc there are.

    A user may have installed another kernel under the name `python3`, which lacks this library.
    """

    @cached_property
    def _settings(self) -> TemporaryDirectory:
        """A folder for IPython's settings and matplotlib's, which are all defaults."""
        folder = TemporaryDirectory(prefix="vqlib-")
        (Path(folder.name) / "matplotlibrc").touch()
        return folder

    @property
    def kernel_spec(self) -> KernelSpec:
        """How the kernel is started."""
        folder = self._settings.name
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            env={"IPYTHONDIR": folder, "MATPLOTLIBRC": f"{folder}/matplotlibrc"},
            display_name="Python 3",
            language="python",
        )
