"""Finished masks in the forms that other tools read, with classes.toml applied on the way."""

from tasks.exports.run import export

__all__ = ["export"]
