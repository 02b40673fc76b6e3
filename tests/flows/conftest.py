"""What the flows' tests share."""

from attacker import untouched, victim  # noqa: F401
from explorer_page import copied, explored, page, served  # noqa: F401  fixtures
