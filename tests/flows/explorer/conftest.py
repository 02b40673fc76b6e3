"""What the explorer's tests share."""

from explorer_client import asked, epoch, own  # noqa: F401  fixtures
