"""What the tests of teaching share."""

from explorer_client import asked, epoch, own  # noqa: F401  fixtures
from home_browser import opened  # noqa: F401  fixture
from home_client import script  # noqa: F401  fixture
from teaching_client import taught_page  # noqa: F401  fixture
