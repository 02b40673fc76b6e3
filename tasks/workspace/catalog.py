"""The catalog of a workspace's dumps: one small document instead of every dump's manifests.

Manifests stay the truth; the catalog is a cache of what they say of finished work. A manifest is
written first, the catalog after it, by whoever holds the lease. A reader lists the folders, one
request for every thousand names, and reads the manifests of those dumps only that the catalog does
not know, or knows under other keys than the last run's. So a kill between any two writes costs
reading, and never gives another answer; a missing or damaged catalog is one that knows nothing.

A folder that a person removed is no longer listed, so its manifest is looked for; where it is begun
anew, `Folder.plan` drops the entry first.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tasks.log import Log
from tasks.storage.run_cache import remembered
from tasks.storage.storage import READS_AT_ONCE, Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import catalog_file, kept_documents, layout
from tasks.workspace.catalog_file import Entries
from tasks.workspace.dump_entry import (
    STAGES,
    UNUSED_BEFORE,
    DumpEntry,
    Manifest,
    corpus_part,
    path_of,
    uncertain_images,
)

log = Log(__name__)


def arrived_dumps(storage: Storage) -> dict[str, Manifest]:
    """The corpus part of each finished dump's entry, in order of arrival; costs two requests, and
    one for each dump that the catalog does not know.
    """
    known, names = catalog_file.load(storage) or {}, storage.names(layout.CORPUS)
    unknown = [name for name in names if name not in known]
    paths = [f"{layout.corpus(name)}/{layout.MANIFEST}" for name in unknown]
    read = zip(unknown, _documents(storage, paths), strict=True)
    found = {name: known[name].corpus for name in names if name in known}
    found |= {name: corpus_part(manifest) for name, manifest in read if manifest}
    return dict(sorted(found.items(), key=lambda pair: catalog_file.sequence(pair[1], pair[0])))


def read_catalog(storage: Storage, last_run: Mapping[str, Any]) -> Entries:
    """The entry of every finished dump under the keys of the last run, in order of arrival."""
    names, known = storage.names(layout.CORPUS), catalog_file.load(storage)
    if known is None and len(names) > 1:
        _tell_missing(storage.uri, len(names))
    folders = _Folders(storage)
    entries = {
        name: _kept(entry, wanted(last_run, name), folders, name)
        for name in names
        if (entry := (known or {}).get(name))
    }
    unknown = [name for name in names if entries.get(name) is None]
    found = {name: entry for name, entry in entries.items() if entry}
    found |= _made(storage, {name: wanted(last_run, name) for name in unknown})
    order = sorted(found, key=lambda name: catalog_file.sequence(found[name].corpus, name))
    return {name: found[name] for name in order}


def save_catalog(storage: Storage, last_run: Mapping[str, Any]) -> None:
    """Bring the file up to date with the manifests; only whoever holds the lease does so."""
    entries = read_catalog(storage, last_run)
    if entries and storage.read_or_none(layout.CATALOG_FILE) != catalog_file.encode(entries):
        catalog_file.store(storage, entries)


def wanted(last_run: Mapping[str, Any], dump: str) -> dict[str, str]:
    """The key of each stage's current outcome for a dump, without the stages that have none."""
    keys = last_run.get("keys", {})
    found = {stage: keys.get(stage) for stage in ("features", "masks")}
    found |= {stage: last_run.get(stage, {}).get(dump) for stage in ("neighbors", "scores")}
    return {stage: found[stage] for stage in STAGES if found[stage]}


class _Folders:
    """Which folders of dumps are there, each parent listed once.

    Neighbours and scores have keys of many dumps, most of them of one dump alone; listing them all
    would cost a request a dump, so that the key's folder stands for the dump's.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.names: dict[str, set[str]] = {}

    def has(self, stage: str, key: str, dump: str) -> bool:
        parent, name = stage, key
        if stage not in ("neighbors", "scores"):
            parent, _, name = path_of(stage, key, dump).rpartition("/")
        if parent not in self.names:
            self.names[parent] = set(self.storage.names(parent))
        return name in self.names[parent]


def _kept(
    entry: DumpEntry, keys: Mapping[str, str], folders: _Folders, dump: str
) -> DumpEntry | None:
    """An entry as far as it holds under these keys; None where manifests must be read.

    They must be where the entry says finished and the listing not there, or the other way round.
    """
    for stage, key in keys.items():
        if (entry.key(stage) == key) != folders.has(stage, key, dump):
            return None
    return entry.only(keys)


def _made(storage: Storage, dumps: Mapping[str, Mapping[str, str]]) -> Entries:
    """Entries from the manifests, read many at a time; without the unfinished dumps."""
    paths = {dump: _manifests_of(dump, keys) for dump, keys in dumps.items()}
    documents = iter(_documents(storage, [p for own in paths.values() for p in own.values()]))
    manifests = {dump: dict(zip(own, documents, strict=False)) for dump, own in paths.items()}
    return {
        dump: _with_uncertain(storage, DumpEntry.of(own, dumps[dump]), dump)
        for dump, own in manifests.items()
        if own[layout.CORPUS]
    }


def _manifests_of(dump: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Paths of the manifests that an entry is made from, by folder or stage."""
    folders = {folder: f"{folder}/{dump}" for folder in (layout.CORPUS, *UNUSED_BEFORE)}
    folders |= {stage: path_of(stage, key, dump) for stage, key in keys.items()}
    return {name: f"{path}/{layout.MANIFEST}" for name, path in folders.items()}


def _documents(storage: Storage, paths: Sequence[str]) -> list[Manifest | None]:
    with ContextThreadPool(READS_AT_ONCE) as pool:
        return list(pool.map(partial(kept_documents.document, storage), paths))


def _with_uncertain(storage: Storage, entry: DumpEntry, dump: str) -> DumpEntry:
    if masks := entry.stages.get("masks"):
        masks["uncertain"] = uncertain_images(storage, masks, dump)
    return entry


@remembered(1)
def _tell_missing(uri: str, dumps: int) -> None:
    """Say once in a run that reading is slow, and until when."""
    text = "no catalog of dumps, their manifests are read; the next run writes it"
    log.info(text, workspace=uri, dumps=dumps)
