"""`python -m vqlib`."""

from vqlib.cli import main

main()
