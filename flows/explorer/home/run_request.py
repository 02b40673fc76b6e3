"""What the page asks for: which images, what is known about them, how they are labelled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from flows.explorer.answers import Change
from flows.runs.settings import FormOptions, PipelineOptions, built
from tasks.corpus.listing import default_dump
from tasks.options import LEAST_CLASSES, CorpusOptions, StorageOptions
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

Place = Annotated[str, Field(max_length=2000)]
RUN_SECTIONS = ("features", "neighbors", "head", "clusters", "masks", "scores", "compute")
"""Sections of a configuration file that a run from the page takes as they are."""
RETRAIN: Final = "retrain"
"""The kind of a request that points at no images: those of the workspace are trained on again."""
TEACH: Final = "teach"
"""The kind of a request that learns the lessons which are stored, and labels all dumps anew."""
WITHOUT_IMAGES = (RETRAIN, TEACH)
LEASE_SECONDS = 60.0
"""How long the run's process waits for the server to let go of the workspace."""


class RunRequest(Change):
    """Images to label. A `run` trains on them; a `backfill` labels them with the classes that the
    workspace has; a `retrain` trains on all that were labelled, and points at none, nor does a
    `teach`, which learns lessons. Empty fields are as by default; `neighbors` is found when the
    images are.
    """

    kind: Literal["run", "backfill", "retrain", "teach"] = "run"
    images: Place = ""
    labels: Place = ""
    taxonomy: Place = ""
    dump: Annotated[str, Field(max_length=200)] = ""
    classes: Annotated[int, Field(ge=LEAST_CLASSES, le=255)] | Literal["auto"] | None = None
    backbone: Annotated[str, Field(max_length=200)] = ""
    weights: Place = ""
    neighbors: Annotated[int, Field(ge=1, le=1000)] | None = None

    def corpus(self, values: Mapping[str, Any]) -> CorpusOptions:
        """Its images and labels over other options of the corpus; OptionError if they are wrong."""
        given = {name: _place(getattr(self, name)) for name in ("images", "labels", "taxonomy")}
        present = {name: place for name, place in given.items() if place}
        corpus: CorpusOptions = built("corpus", {**values, **present})
        return corpus


def _place(typed: str) -> str:
    """A place as people type or paste it: without blanks and quotes around it.

    A local path becomes absolute, since the run has a process of its own.
    """
    plain = typed.strip()
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'":
        plain = plain[1:-1]
    return Storage.at(plain).uri if plain else ""


@dataclass(frozen=True)
class Order:
    """A run as its process gets it; without a dump and images to train again, or to learn."""

    kind: str
    workspace: str
    dump: str
    options: FormOptions
    log: tuple[str, str | None, bool] = ("stego.log", None, False)
    """The log's file, its form, and whether a person named it."""

    def document(self) -> dict[str, Any]:
        """For JSON; options that nobody gave stay so."""
        options = self.options.model_dump(mode="json", exclude_unset=True)
        return {**self.__dict__, "options": options}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Order":
        """From its document."""
        kind = FormOptions if document["kind"] in WITHOUT_IMAGES else PipelineOptions
        options = kind(**document["options"])
        return cls(**{**document, "options": options, "log": tuple(document["log"])})


@dataclass(frozen=True)
class Setup:
    """How the runs of a page are started: as `stego explore` was."""

    workspace: str
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further options, from its configuration file."""
    storage: StorageOptions = field(default_factory=lambda: StorageOptions())
    log: tuple[str, str | None, bool] = ("stego.log", None, False)  # as in `Order`
    allowed: bool = True  # whether the page may start runs, and look where images lie

    def order(self, request: RunRequest) -> Order:
        """The run that a request is about.

        Raises:
            OptionError, InputError: something in it makes no sense.
        """
        if request.kind in WITHOUT_IMAGES:
            return Order(request.kind, self.workspace, "", self._training_again(request), self.log)
        corpus = request.corpus(self.sections.get("corpus", {}))
        sections = {
            name: {**self.sections.get(name, {}), **_given(request, name)} for name in RUN_SECTIONS
        }
        options = {name: built(name, values) for name, values in sections.items() if values}
        return Order(
            request.kind,
            self.workspace,
            request.dump.strip() or default_dump(corpus.images),
            PipelineOptions(corpus=corpus, storage=self._storage(), **options),
            self.log,
        )

    def _training_again(self, request: RunRequest) -> FormOptions:
        """What a retraining can be told; all else is as in the run before."""
        compute = built("compute", self.sections.get("compute", {}))
        clusters = built("clusters", _given(request, "clusters"))
        return FormOptions(clusters=clusters, compute=compute, storage=self._storage())

    def _storage(self) -> StorageOptions:
        return self.storage.model_copy(update={"wait": LEASE_SECONDS})


def _given(request: RunRequest, section: str) -> dict[str, Any]:
    """A request's own options of a section."""
    if section == "clusters" and request.classes is not None:
        return {"classes": request.classes}
    if section == "neighbors" and request.neighbors is not None:
        return {"k": request.neighbors}
    if section == "features" and request.backbone.strip():
        weights = request.weights.strip()
        if "://" in weights:
            weights = _place(weights)  # refused with a password in it
        return {"backbone": request.backbone.strip(), "weights": weights or None, "layer": None}
    return {}


def store(workspace: Workspace, request: RunRequest) -> None:
    """Remember in the workspace what was asked for, so that a later server can go on with it."""
    content = json.dumps(request.model_dump(), indent=1, ensure_ascii=False)
    workspace.storage.write(layout.REQUEST_FILE, content.encode())


def stored(workspace: Workspace) -> RunRequest | None:
    """What was asked for and is not done; None where nothing is, or it makes no sense any more."""
    document = workspace.storage.document(layout.REQUEST_FILE)
    try:
        return None if document is None else RunRequest(**document)
    except ValidationError:
        return None


def forget(workspace: Workspace) -> None:
    """What was asked for is done."""
    workspace.storage.remove(layout.REQUEST_FILE)
