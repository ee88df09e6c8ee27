"""Comparison of methods or settings: the runs, and the page of results."""
