"""Descriptions of settings are single lines, which `--help` wraps."""

from sslzoo.config import Config


class Documented(Config):
    """Settings."""

    long: int = 1
    """The first line,
    and the second one."""
    short: int = 2


def test_description_is_one_line() -> None:
    fields = Documented.model_fields
    assert fields["long"].description == "The first line, and the second one."
    assert fields["short"].description is None
