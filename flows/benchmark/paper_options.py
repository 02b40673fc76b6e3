"""The options of `stego benchmark`: those of a run, with the published values as their defaults."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import Field, create_model

from flows.runs.settings import RunOptions, flags
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.options import Options
from tasks.paper import protocol

BY_DATA_SET = " By default it is as published for the data set."
"""What the help says instead of a default that differs from data set to data set."""


def published_section(section: str, base: type[Options]) -> type[Options]:
    """A section whose defaults are the published ones; the help shows those that all share."""
    by_name = [
        {"backbone": facts.backbone, **protocol.values(facts, facts.backbone)[section]}
        for facts in BENCHMARKS.values()
    ]
    fields: dict[str, Any] = {}
    for name, information in base.model_fields.items():
        published = [values[name] for values in by_name if name in values]
        if not published:
            continue
        annotation: Any = information.annotation
        for constraint in information.metadata:
            annotation = Annotated[annotation, constraint]
        default, text = published[0], information.description or ""
        if default != information.default:
            text = text.partition(" By default")[0]
        if any(value != default for value in published) or default == protocol.EVERY:
            default = information.default
            annotation = Annotated[annotation, Parameter(show_default=False)]
            text += BY_DATA_SET if published[0] != protocol.EVERY else " By default it is of all."
        fields[name] = annotation, Field(default, description=text)
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)


def _options() -> type[RunOptions]:
    sections: dict[str, Any] = {}
    for section, base in protocol.SECTIONS.items():
        model: Any = published_section(section, base)
        sections[section] = Annotated[model, flags(section)], Field(default_factory=model)
    return create_model("BenchmarkOptions", __base__=RunOptions, **sections)


if TYPE_CHECKING:
    BenchmarkOptions = RunOptions
else:
    BenchmarkOptions = _options()
