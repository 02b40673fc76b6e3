"""The reference of the site: every command from its help, every public name from its docstring."""

import re
from functools import cache
from importlib import import_module
from typing import Any

PYTHON = "reference/python.md"
MODULES = {
    "flows.api": "`open_workspace` and `OpenWorkspace` are also in `flows`.",
    "stego_core.errors": "What is raised; each message is one sentence of what to do.",
}
"""Modules whose names people use in programs of their own."""


def pages() -> dict[str, str]:
    """Markdown of each generated page, by its path."""
    return {PYTHON: _python(), **{_path(name): page for name, page in commands().items()}}


def navigation() -> list[Any]:
    """The pages in their order: Python, then the commands."""
    return [
        {"Python": PYTHON},
        {"Commands": [{f"stego {name}": _path(name)} for name in commands()]},
    ]


@cache
def commands() -> dict[str, str]:
    """A page of each command by its name: its help, sections as headings."""
    _, *sections = re.split(r"^## (?=stego [a-z])", _help(), flags=re.MULTILINE)
    return {section.split(maxsplit=2)[1]: _page(section) for section in sections}


def _help() -> str:
    """The help of all commands as one page."""
    from flows.cli import main
    from flows.cli.flags import app

    for module in main.COMMANDS:
        import_module(module)
    return str(app.generate_docs())


def _page(section: str) -> str:
    """A command's help with headings one level up; groups of options have one of their own."""
    raised = re.sub(r"^#(#+ )", r"\1", f"# {section}", flags=re.MULTILINE)
    first, *others = re.split(r"^(?=## stego )", raised, flags=re.MULTILINE)
    groups = r"^\*\*(.+)\*\*:$"
    whole = re.sub(groups, r"## \1", first, flags=re.MULTILINE)
    return whole + "".join(re.sub(groups, r"### \1", o, flags=re.MULTILINE) for o in others)


def _path(command: str) -> str:
    return f"reference/stego-{command}.md"


def _python() -> str:
    parts = [f"::: {module}\n\n{sentence}\n" for module, sentence in MODULES.items()]
    return "\n".join(["# Python", *parts])
