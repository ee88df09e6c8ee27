"""Compare methods or settings: run them and write a page of results."""
