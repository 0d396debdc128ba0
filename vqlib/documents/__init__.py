"""Notebooks run with parameters, and printed as PDF; imports no torch."""
