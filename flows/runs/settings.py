"""Settings of a whole run: the stages' options together, from a TOML file and flags."""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any

from cyclopts import Group, Parameter
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
    PicieOptions,
    PretrainOptions,
    ScoresOptions,
    StorageOptions,
)
from tasks.storage import storage

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
    "picie": PicieOptions,
    "export": ExportOptions,
    "storage": StorageOptions,
    "compute": ComputeOptions,
}
"""The stages that have options, in order; how storage is reached, and where the work runs."""


ALIASES = {"k": "neighbors"}
"""Flags that read better than their option's name."""
FLAG_PREFIXES = {"picie": "picie-"}
"""How the flags of a section begin whose options are named like those of others."""
SHARED = ("seed",)
"""Options whose flag sets those of all sections, whatever their prefix."""


def flags(section: str) -> Parameter:
    """A section's options as flags: a group of the help with the name of its TOML table."""
    sentence = (SECTIONS[section].__doc__ or "").splitlines()[0]
    order = list(SECTIONS).index(section)
    group = Group(section, help=sentence, sort_key=order)
    names = partial(flag_name, section=section)
    return Parameter(name="*", group=group, allow_leading_hyphen=True, name_transform=names)


def flag_name(option: str, section: str = "") -> str:
    """An option's name as a flag has it, without its dashes."""
    prefix = "" if option in SHARED else FLAG_PREFIXES.get(section, "")
    return prefix + ALIASES.get(option, option.replace("_", "-"))


Corpus = Annotated[CorpusOptions, flags("corpus")]
Features = Annotated[FeaturesOptions, flags("features")]
Neighbors = Annotated[NeighborsOptions, flags("neighbors")]
Head = Annotated[HeadOptions, flags("head")]
Clusters = Annotated[ClustersOptions, flags("clusters")]
Masks = Annotated[MasksOptions, flags("masks")]
Scores = Annotated[ScoresOptions, flags("scores")]
Picie = Annotated[PicieOptions, flags("picie")]
Storage = Annotated[StorageOptions, flags("storage")]
Compute = Annotated[ComputeOptions, flags("compute")]


class RunOptions(Options):
    """Every option of a run besides its images, by stage."""

    features: Features = Field(default_factory=lambda: FeaturesOptions())
    neighbors: Neighbors = Field(default_factory=lambda: NeighborsOptions())
    head: Head = Field(default_factory=lambda: HeadOptions())
    clusters: Clusters = Field(default_factory=lambda: ClustersOptions())
    masks: Masks = Field(default_factory=lambda: MasksOptions())
    scores: Scores = Field(default_factory=lambda: ScoresOptions())
    picie: Picie = Field(default_factory=lambda: PicieOptions())
    storage: Storage = Field(default_factory=lambda: StorageOptions())
    compute: Compute = Field(default_factory=lambda: ComputeOptions())


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

    corpus: Corpus  # type: ignore[assignment]


def built(section: str, values: Mapping[str, Any]) -> Any:
    """The options of a section; OptionError tells the first wrong name or value."""
    require_known(section, values)
    try:
        return SECTIONS[section](**values)
    except ValidationError as error:
        raise OptionError(mistake(error)) from None


def mistake(error: ValidationError) -> str:
    """One sentence on the first option that sections refuse."""
    first, *others = error.errors()
    of_model = {options.__name__: section for section, options in SECTIONS.items()}
    section = of_model.get(error.title, str(first["loc"][0]))
    path = first["loc"][len(first["loc"]) > 1 and first["loc"][0] in SECTIONS :]
    name = str(path[0])  # what follows are the members of a union
    same = [first, *(other for other in others if name in other["loc"])]
    expected = ", or ".join(detail["msg"].lower() for detail in same)
    given = f" (found {first['input']!r})" if first["type"] != "missing" else ""
    return f"--{flag_name(name, section)}: {expected}{given}; see --help"


def require_known(section: str, names: Mapping[str, Any]) -> None:
    """OptionError if a section lacks an option: the first of these, and those that it has."""
    known = SECTIONS[section].model_fields
    for name in names:
        if name not in known:
            raise OptionError(f"{section} has no option {name!r}; it has {', '.join(known)}")


def from_toml(location: str) -> dict[str, dict[str, Any]]:
    """Sections of a TOML file; OptionError if it cannot be read, or a table or name is unknown.
    Values are not looked at.
    """
    path = PurePosixPath(storage.Storage.at(location).uri)
    try:
        content = storage.Storage(str(path.parent)).read(path.name)
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise OptionError(f"--config {location} cannot be read: {error}") from None
    except ValueError as error:
        raise OptionError(f"--config {location} is not TOML: {error}") from None
    for name, table in document.items():
        if name not in SECTIONS or not isinstance(table, dict):
            raise OptionError(
                f"--config {location} has {name!r}; expected the sections {', '.join(SECTIONS)}"
            )
        require_known(name, table)
    return document
