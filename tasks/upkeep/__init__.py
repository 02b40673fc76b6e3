"""Housekeeping of a workspace: what nobody needs any more, and whether the rest is as written."""
