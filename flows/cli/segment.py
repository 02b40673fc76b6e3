"""Loose images: label a few files with a finished workspace, without making a dump."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from flows.api import open_workspace
from flows.reporting import console
from stego_core.errors import ImageError, InputError
from tasks.corpus.listing import read_file
from tasks.images.image_codecs import encode_mask
from tasks.storage.storage import Storage


def segment_files(workspace: str, images: Sequence[str], out: str, device: str) -> None:
    """Write a palette PNG for each image file, of the image's size; then InputError if some of
    them could not be labelled.
    """
    names = mask_names(images)
    opened, target = open_workspace(workspace, device), Storage.at(out)
    colours = opened.classes.colours()
    failed = []
    for location in images:
        path = PurePosixPath(Storage.at(location).uri)
        try:
            content = read_file(Storage(str(path.parent)), path.name)
            image = opened.read(content)
        except ImageError as error:
            failed.append(f"{location}: {error}")
            continue
        target.write(names[location], encode_mask(opened.label(image), colours))
        console.say(f"{location} → {target.full(names[location])}")
    if failed:
        raise InputError(f"{len(failed)} of {len(images)} images not labelled: {'; '.join(failed)}")


def mask_names(images: Sequence[str]) -> dict[str, str]:
    """A mask's file name for each image: its stem, or its whole name where stems collide;
    InputError where names do too.
    """
    stems = [PurePosixPath(image).stem for image in images]
    names = {
        image: f"{stem if stems.count(stem) == 1 else PurePosixPath(image).name}.png"
        for image, stem in zip(images, stems, strict=True)
    }
    if len(set(names.values())) < len(images):
        raise InputError("two of the images have the same name; label them in two calls")
    return names
