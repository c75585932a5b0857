"""Faults at random moments, and whether a run comes through them with the same bits: `python -m tests.faults`."""
