"""What the flows' tests share."""

from explored import copied, explored, page, served  # noqa: F401  fixtures
