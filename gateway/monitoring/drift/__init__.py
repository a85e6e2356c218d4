"""Drift as the monitor measures it: rows into windows, windows into verdicts, verdicts written."""
