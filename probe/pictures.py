"""Placeholder."""


def draw(*args: object) -> None:
    """Draw nothing."""
