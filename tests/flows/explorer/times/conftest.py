"""What the tests of times share."""

from home_client import workspace  # noqa: F401  a fixture
