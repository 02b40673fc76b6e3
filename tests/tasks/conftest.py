"""What tests of several stages share."""

from two_dumps import rows  # noqa: F401
