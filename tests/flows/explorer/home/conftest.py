"""What the tests of the home page share."""

from home_browser import opened  # noqa: F401  a fixture
from home_client import fixed, home, script, workspace  # noqa: F401  fixtures
