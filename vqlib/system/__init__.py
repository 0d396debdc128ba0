"""Files, processes, progress and the machine: support that says nothing about models."""
