"""A measurement: the values of a run at one log interval, as in a line of metrics.jsonl."""

from collections.abc import Mapping
from typing import Any

Measurement = Mapping[str, Any]
"""Values by name, such as `step`, `loss` and `separation`; docs/health.md explains each. Only `step` is required."""
