"""Applies a finished run to the rows of a file."""
