"""A part of one's own to start from, and its test."""
