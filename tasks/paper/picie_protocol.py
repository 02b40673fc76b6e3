"""PiCIE's protocol on the paper's data sets, and where a run departs from it."""

from tasks.options import PicieOptions

DIFFERENCES = (
    "k-means starts from 200,000 pixels sampled from its first batches",
    "a view's crop lies on whole cells of the feature map",
    "images are evaluated as squares cut for STEGO, resized as --resampling says",
)
"""Differences of every run from the released code; docs/notes/picie.md gives reasons."""
INDIFFERENT = {"seed", "threads", "image_memory", "checkpoint_steps", "weights"}
"""Options that no paper states."""
TRAINED = "published: {}, trained with ImageNet's labels"


def departures(options: PicieOptions, resampling: str, limit: int | None) -> list[str]:
    """Options that differ from the published ones, a phrase each."""
    phrases = []
    if limit is not None:
        phrases.append(f"a trial on the first {limit} images of each split")
    if resampling != "bilinear":
        phrases.append(f"images of the evaluation resampled {resampling} (published: bilinear)")
    if options.weights is not None:
        published = TRAINED.format(PicieOptions().network)
        phrases.append(f"PiCIE's weights {options.weights} ({published})")
    for name, value in PicieOptions():
        given = getattr(options, name)
        if given != value and name not in INDIFFERENT:
            shown = "each image once" if value is None else value
            phrases.append(f"PiCIE's {name.replace('_', ' ')} {given} (published: {shown})")
    return phrases
