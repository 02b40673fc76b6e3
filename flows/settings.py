"""Settings of a whole run: the stages' options together, from a TOML file and flags."""

import tomllib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, ValidationError

from stego_core.errors import OptionError
from tasks.options import (
    ClustersOptions,
    ComputeOptions,
    CorpusOptions,
    ExportOptions,
    FeaturesOptions,
    HeadOptions,
    InboxOptions,
    MasksOptions,
    NeighborsOptions,
    Options,
    PretrainOptions,
    ScoresOptions,
    StorageOptions,
)
from tasks.workspace.storage import Storage


class RunOptions(Options):
    """Every option of a run besides its images, by stage."""

    features: FeaturesOptions = Field(default_factory=lambda: FeaturesOptions())
    neighbors: NeighborsOptions = Field(default_factory=lambda: NeighborsOptions())
    head: HeadOptions = Field(default_factory=lambda: HeadOptions())
    clusters: ClustersOptions = Field(default_factory=lambda: ClustersOptions())
    masks: MasksOptions = Field(default_factory=lambda: MasksOptions())
    scores: ScoresOptions = Field(default_factory=lambda: ScoresOptions())
    storage: StorageOptions = Field(default_factory=lambda: StorageOptions())
    compute: ComputeOptions = Field(default_factory=lambda: ComputeOptions())


class FurtherOptions(CorpusOptions):
    """What is known about images that are named elsewhere."""

    images: str | None = Field(  # type: ignore[assignment]
        None, description="Leave this empty where the field `images` of the run says which images."
    )


class FormOptions(RunOptions):
    """Every option of a run, as a form shows them below its images."""

    corpus: FurtherOptions = Field(default_factory=lambda: FurtherOptions())


class PipelineOptions(FormOptions):
    """Every option of a run on a folder of images."""

    corpus: CorpusOptions  # type: ignore[assignment]


SECTIONS: dict[str, type[Options]] = {
    "corpus": CorpusOptions,
    "inbox": InboxOptions,
    "pretrain": PretrainOptions,
    "features": FeaturesOptions,
    "neighbors": NeighborsOptions,
    "head": HeadOptions,
    "clusters": ClustersOptions,
    "masks": MasksOptions,
    "scores": ScoresOptions,
    "export": ExportOptions,
    "storage": StorageOptions,
    "compute": ComputeOptions,
}
"""The stages that have options, in order; how storage is reached, and where the work runs."""


def built(section: str, values: Mapping[str, Any]) -> Any:
    """The options of a section.

    Raises:
        OptionError: a name or value is wrong; one sentence for the first of them.
    """
    try:
        return SECTIONS[section](**values)
    except ValidationError as error:
        first, *others = error.errors()
        name = str(first["loc"][0])  # what follows are the members of a union
        known = ", ".join(SECTIONS[section].model_fields)
        if first["type"] == "extra_forbidden":
            raise OptionError(f"{section} has no option {name!r}; it has {known}") from None
        found = f" (found {first['input']!r})" if first["type"] != "missing" else ""
        flag = name.replace("_", "-")
        same = [first, *(other for other in others if other["loc"][0] == name)]
        wanted = ", or ".join(each["msg"].lower() for each in same)
        raise OptionError(f"--{flag}: {wanted}{found}; see --help") from None


def from_toml(location: str) -> dict[str, dict[str, Any]]:
    """Sections of a TOML file; every one must be a section's name.

    Raises:
        OptionError: it cannot be read, or a section is unknown.
    """
    path = PurePosixPath(Storage.at(location).uri)
    try:
        content = Storage(str(path.parent)).read(path.name)
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise OptionError(f"--config {location} cannot be read: {error}") from None
    except ValueError as error:
        raise OptionError(f"--config {location} is not TOML: {error}") from None
    for name, value in document.items():
        if name not in SECTIONS or not isinstance(value, dict):
            raise OptionError(
                f"--config {location} has {name!r}; expected the sections {', '.join(SECTIONS)}"
            )
    return document
