"""Run notebooks with parameters and print them as PDF, without importing torch."""
