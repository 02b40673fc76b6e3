"""What a dump's numbers mean: decided from the whole corpus, written down, told in a line."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from stego_core.images.rendering import ORDINARY, Form, Picture, Rendering
from stego_core.images.value_counts import Counts, clipped, summed
from stego_core.images.value_range import is_transparency, parsed_bands, ranges, remark
from tasks.images import number_counts
from tasks.images.number_counts import ALPHA_STEPS, Tally
from tasks.images.rendering import Renderer, described, opened, shown
from tasks.options import ReadOptions
from tasks.workspace.workspace import Workspace

MUCH = 0.02
"""Share of a later dump's values beyond black and white from which on it is a warning."""
EARLIER = (
    "indexed by an earlier version: 8 bits as they are, 16 bits at full scale, white behind "
    "transparent parts, data everywhere"
)
Document = dict[str, Any]


class NumberMeaning(NamedTuple):
    """What was decided for a dump.

    Attributes:
        renderings: one for each form of its files.
        bands: that were asked for.
        blank: share of the pixels that hold no data.
        blank_files: images with such pixels.
        told: what people should know, a line for each form.
        warnings: what they should look at.
    """

    renderings: tuple[Rendering, ...]
    bands: tuple[int, ...] | None
    blank: float
    blank_files: int
    told: tuple[str, ...]
    warnings: tuple[str, ...]

    def document(self) -> Document:
        """For the dump's manifest."""
        return {
            "renderings": [each.document() for each in self.renderings],
            "bands": self.bands and list(self.bands),
            "no_data": {"share": round(self.blank, 6), "images": self.blank_files},
            "told": list(self.told),
            "warnings": list(self.warnings),
        }

    def pins(self) -> Document | None:
        """What the pictures depend on beyond the files; None where they are ordinary ones, so that
        keys of dumps from before stay.
        """
        usual = [each for each in self.renderings if each.form == ORDINARY and each.identity]
        if len(usual) == len(self.renderings) and not self.blank_files and self.bands is None:
            return None
        chosen = [
            {name: value for name, value in each.document().items() if name != "how"}
            for each in self.renderings
        ]
        return {"renderings": chosen, "no_data": self.blank_files > 0}


def renderer(document: Document) -> Renderer:
    """The renderer of a dump, from its manifest's `values`."""
    made = tuple(Rendering.from_document(each) for each in document["renderings"])
    bands = document["bands"]
    return Renderer(made, None if bands is None else tuple(bands))


def told(manifest: Document) -> Document:
    """What people should know of a dump's numbers, from its manifest: `told`, lines; `warnings`,
    lines to look at; `no_data`, the share of its pixels without, and the images that have some.
    """
    held = manifest.get("values")
    if held is None:
        return {"told": [EARLIER], "warnings": [], "no_data": {"share": 0.0, "images": 0}}
    return {name: held[name] for name in ("told", "warnings", "no_data")}


def renderings(manifest: Document) -> list[Rendering]:
    """Those of a dump, from its manifest; none of a dump from before there were any."""
    held = manifest.get("values", {"renderings": []})
    return [Rendering.from_document(each) for each in held["renderings"]]


def before(workspace: Workspace, dump: str | None = None) -> list[str]:
    """Dumps whose numbers mean the same in a further one: those of the current head come first."""
    trained = [str(name) for name in (workspace.current_or_none() or {}).get("dumps", [])]
    others = [name for name in workspace.dumps() if name not in trained]
    return [name for name in [*trained, *others] if name != dump]


def renderer_of(manifests: Sequence[Document]) -> Renderer:
    """For files that belong to no dump: as in these dumps, the first that has their form.

    Args:
        manifests: of dumps, those that a head was trained on first.
    """
    made = tuple(each for manifest in manifests for each in renderings(manifest))
    return Renderer(made, bands_of(manifests))


def bands_of(manifests: Sequence[Document]) -> tuple[int, ...] | None:
    """The bands that the first of some dumps shows, where some were asked for."""
    held = next((m["values"]["bands"] for m in manifests if "values" in m), None)
    return None if held is None else tuple(held)


def loose_picture(made: Renderer, content: bytes, max_pixels: int) -> Picture:
    """A file that belongs to no dump as RGB; numbers of an unknown form mean what they mean alone.

    Raises:
        ImageError: it cannot be read, or none of its pixels holds data.
    """
    with opened(content, max_pixels, made.bands) as source:
        known = made.of(source.form)
        return shown(source, known or _rendering(Tally.of(source), "auto"))


def decided(
    found: Sequence[Tally], options: ReadOptions, earlier: Sequence[Rendering] = ()
) -> NumberMeaning:
    """How the files of a corpus are rendered.

    Args:
        found: tallies of its files.
        options: `bands` and `value_range`.
        earlier: renderings of the dumps that a head was trained on. Files of the same form become
            the same colours as there, unless a range is given: else one scene would look different.
    """
    kinds = number_counts.by_form(found)
    made, told, warnings = [], [], []
    for each in kinds:
        known = next((old for old in earlier if old.form == each.form), None)
        taken = known if options.value_range == "auto" else None
        chosen = taken or _rendering(each, options.value_range)
        made.append(chosen)
        told.append(_line(each, chosen, taken is not None))
        if taken and (outside := clipped(each.values(taken.alpha), taken.ranges)) > MUCH:
            warnings.append(
                f"{100 * outside:.1f} % of the values of {described(each.form)} lie outside of "
                "the range of the images that the head was trained on"
            )
    pairs = list(zip(kinds, made, strict=True))
    blank = sum(each.blank + each.clear * how.alpha for each, how in pairs)
    files = sum(each.clear_files if how.alpha else each.blank_files for each, how in pairs)
    levels = summed([each.level_counts(how) for each, how in pairs])
    if (odd := remark(levels)) is not None:
        warnings.append(odd)
    share = blank / max(sum(each.pixels for each in kinds), 1)
    if files:
        images = "1 image" if files == 1 else f"{files} images"
        told.append(f"no data: {_percent(share)} of the pixels, in {images}")
    bands = parsed_bands(options.bands)
    return NumberMeaning(tuple(made), bands, share, files, tuple(told), tuple(warnings))


def _rendering(tally: Tally, option: str) -> Rendering:
    """Of a form that no head has seen yet."""
    form = tally.form
    alpha = bool(form.alpha) and (form.certain or is_transparency(tally.alpha, ALPHA_STEPS))
    counts: Sequence[Counts] = tally.values(alpha)
    spans, how = ranges(counts, form, tally.stated, option, tally.one_unit)
    return Rendering(form, spans, alpha, how)


def _line(tally: Tally, made: Rendering, taken: bool) -> str:
    """One form's files and what becomes of them, in one line."""
    form: Form = made.form
    files = f"{tally.files} file{'s' * (tally.files != 1)}"
    if form == ORDINARY and made.identity:
        return f"{files} of 8 bits a channel, as they are"
    parts = [f"{files} of {described(form)}", _shown(form)]
    if form.alpha:
        meaning = "transparency" if made.alpha else "not transparency, whatever its tag says"
        parts.append(f"band {form.alpha} is {meaning}")
    spans = dict.fromkeys(f"{low:g} to {high:g}" for low, high in made.ranges)
    parts.append(f"range {' and '.join(spans)} ({made.how}{', as in training' * taken})")
    if form.inverted:
        parts.append("the least value is white")
    if form.dtype.startswith("complex"):
        parts.append("magnitudes")
    return ", ".join(parts)


def _shown(form: Form) -> str:
    if len(form.shown) == 1:
        return f"band {form.shown[0]} as grey" if form.bands > 1 else "grey"
    return f"bands {', '.join(map(str, form.shown))} as red, green, blue"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "less than 0.1 %"
