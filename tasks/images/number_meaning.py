"""The meaning of a dump's numbers: decided from the whole corpus, written down, reported."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from stego_core.images.rendering import ORDINARY, Form, Picture, Rendering
from stego_core.images.value_counts import clipped, summed
from stego_core.images.value_range import is_transparency, parsed_bands, ranges, remark
from tasks.images import number_counts
from tasks.images.number_counts import ALPHA_STEPS, NumberCounts
from tasks.images.rendering import Renderer, describe, opened, render
from tasks.options import ReadOptions
from tasks.workspace.workspace import Workspace

CLIPPED_SHARE = 0.02
"""A later dump with a larger share of values beyond black and white gets a warning."""
EARLIER_VERSION = (
    "indexed by an earlier version: 8 bits as they are, 16 bits at full scale, white behind "
    "transparent parts, data everywhere"
)
"""How numbers were read before their meaning was decided."""
Document = dict[str, Any]


class NumberMeaning(NamedTuple):
    """The decision for a dump."""

    renderings: tuple[Rendering, ...]  # one for each form of its files
    bands: tuple[int, ...] | None  # the option `--bands`; None without
    blank: float  # share of the pixels that hold no data
    blank_files: int  # images with such pixels
    lines: tuple[str, ...]  # what people should know, a line for each form
    warnings: tuple[str, ...]  # what they should look at

    def document(self) -> Document:
        """For the dump's manifest."""
        return {
            "renderings": [rendering.document() for rendering in self.renderings],
            "bands": self.bands and list(self.bands),
            "no_data": {"share": round(self.blank, 6), "images": self.blank_files},
            "told": list(self.lines),
            "warnings": list(self.warnings),
        }

    def pins(self) -> Document | None:
        """What the pictures depend on beyond the files.

        None where all are ordinary pictures, so that keys of dumps of earlier versions stay.
        """
        ordinary = all(r.form == ORDINARY and r.identity for r in self.renderings)
        if ordinary and not self.blank_files and self.bands is None:
            return None
        documents = [rendering.document() for rendering in self.renderings]
        for document in documents:
            del document["how"]
        return {"renderings": documents, "no_data": self.blank_files > 0}


def remarks(manifest: Document) -> Document:
    """Remarks on a dump's numbers for people, from its manifest.

    Under `told` lines, under `warnings` lines to look at, under `no_data` the share of its pixels
    without data, and the images that have some.
    """
    values = manifest.get("values")
    if values is None:
        return {"told": [EARLIER_VERSION], "warnings": [], "no_data": {"share": 0.0, "images": 0}}
    return {name: values[name] for name in ("told", "warnings", "no_data")}


def renderings(manifest: Document) -> tuple[Rendering, ...]:
    """The renderings of a dump, from its manifest; none of a dump of an earlier version."""
    documents = manifest.get("values", {}).get("renderings", [])
    return tuple(Rendering.from_document(document) for document in documents)


def earlier_dumps(workspace: Workspace, dump: str | None = None) -> list[str]:
    """Dumps whose meaning of numbers a new one takes over: those of the current head first.

    Of a form of files the first dump decides, so that only dumps are named that brought one.
    """
    arrived = workspace.arrived()
    trained = [str(name) for name in (workspace.last_run_or_none() or {}).get("dumps", [])]
    known, deciding = set[str](), list[str]()
    for name in dict.fromkeys([*trained, *arrived]):
        forms = set(arrived.get(name, {}).get("values", {}).get("forms", ()))
        if name != dump and (name not in arrived or not forms <= known):
            deciding.append(name)
            known |= forms
    return deciding


def renderer_of(manifests: Sequence[Document]) -> Renderer:
    """As in the dumps of these manifests, the first that has a file's form."""
    known = tuple(rendering for manifest in manifests for rendering in renderings(manifest))
    return Renderer(known, bands_of(manifests))


def bands_of(manifests: Sequence[Document]) -> tuple[int, ...] | None:
    """The option `--bands` of the first of some dumps; None without."""
    bands = next((m["values"]["bands"] for m in manifests if "values" in m), None)
    return None if bands is None else tuple(bands)


def loose_picture(known: Renderer, content: bytes, max_pixels: int) -> Picture:
    """A file that belongs to no dump as RGB; an unknown form is decided from the file alone.

    An ImageError if it cannot be read, or none of its pixels holds data.
    """
    with opened(content, max_pixels, known.bands) as source:
        rendering = known.of(source.form) or _decide(NumberCounts.of(source), "auto")
        return render(source, rendering)


def decide(
    counts: Sequence[NumberCounts], options: ReadOptions, earlier: Sequence[Rendering] = ()
) -> NumberMeaning:
    """How the files of a corpus are rendered.

    Files of a form that `earlier` dumps have, those that a head was trained on, become the same
    colours as there, unless a range is given: else one scene would look different.
    """
    forms = number_counts.by_form(counts)
    known = Renderer(tuple(earlier) if options.value_range == "auto" else ())
    chosen = [known.of(c.form) or _decide(c, options.value_range) for c in forms]
    pairs = list(zip(forms, chosen, strict=True))
    lines = [_line(c, how, known.of(c.form) is not None) for c, how in pairs]
    warnings = [_clipping(c, how) for c, how in pairs if known.of(c.form)]
    warnings.append(remark(summed([c.level_counts(how) for c, how in pairs])))
    blank = sum(c.blank + c.clear * how.alpha for c, how in pairs)
    share = blank / max(sum(c.pixels for c in forms), 1)
    files = sum(c.clear_files if how.alpha else c.blank_files for c, how in pairs)
    if files:
        images = "1 image" if files == 1 else f"{files} images"
        lines.append(f"no data: {_percent(share)} of the pixels, in {images}")
    bands = parsed_bands(options.bands)
    return NumberMeaning(
        tuple(chosen), bands, share, files, tuple(lines), tuple(filter(None, warnings))
    )


def _decide(counts: NumberCounts, option: str) -> Rendering:
    """The rendering of a form that no head has seen yet."""
    form = counts.form
    alpha = bool(form.alpha) and (form.certain or is_transparency(counts.alpha, ALPHA_STEPS))
    bands = counts.with_data(alpha)
    spans, how = ranges(bands, form, counts.stated, option, counts.one_unit)
    return Rendering(form, spans, alpha, how)


def _clipping(counts: NumberCounts, rendering: Rendering) -> str | None:
    """A warning where many values lie outside of the range of the training images."""
    share = clipped(counts.with_data(rendering.alpha), rendering.ranges)
    if share <= CLIPPED_SHARE:
        return None
    return (
        f"{100 * share:.1f} % of the values of {describe(counts.form)} lie outside of "
        "the range of the images that the head was trained on"
    )


def _line(counts: NumberCounts, rendering: Rendering, as_in_training: bool) -> str:
    """One form's files and what becomes of them, in one line."""
    form = rendering.form
    files = f"{counts.files} file{'s' * (counts.files != 1)}"
    if form == ORDINARY and rendering.identity:
        return f"{files} of 8 bits a channel, as they are"
    parts = [f"{files} of {describe(form)}", _colours(form)]
    if form.alpha:
        meaning = "transparency" if rendering.alpha else "not transparency, whatever its tag says"
        parts.append(f"band {form.alpha} is {meaning}")
    spans = " and ".join(dict.fromkeys(f"{low:g} to {high:g}" for low, high in rendering.ranges))
    parts.append(f"range {spans} ({rendering.how}{', as in training' * as_in_training})")
    if form.inverted:
        parts.append("the least value is white")
    if form.dtype.startswith("complex"):
        parts.append("magnitudes")
    return ", ".join(parts)


def _colours(form: Form) -> str:
    if len(form.shown) == 1:
        return f"band {form.shown[0]} as grey" if form.bands > 1 else "grey"
    return f"bands {', '.join(map(str, form.shown))} as red, green, blue"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "less than 0.1 %"
