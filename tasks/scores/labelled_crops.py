"""The training crops whose images have labels: what linear probes are fitted to."""

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError
from stego_core.images.geometry import crop_windows, square_labels
from tasks.corpus.index import IndexReader
from tasks.features.rows import FeatureRows


class LabelledCrops:
    """Crops that features are kept for, and their labels.

    Attributes:
        images: (i,) int64 labelled images, as numbers among those sampled from all dumps.
        rows: (r,) int64 feature rows of their crops that hold data.
        classes: how many the labels have.
    """

    def __init__(self, features: FeatureRows) -> None:
        """Look them up among the rows of all dumps; reads tables only.

        Raises:
            InputError: there are none.
        """
        self.features, self.crops = features, features.crops()
        self.side = int(features.manifest(features.dumps[0])["options"]["crop_size"])
        self.indices = [IndexReader(features.workspace, dump) for dump in features.dumps]
        self.sampled = [features.images(dump) for dump in features.dumps]
        labelled = []
        for dump, index, sampled in zip(features.dumps, self.indices, self.sampled, strict=True):
            has_label = [text is not None for part in index.column("label_digest") for text in part]
            invalid = np.isin(sampled, [int(row) for row in features.manifest(dump)["invalid"]])
            labelled.append(np.array(has_label)[sampled] & ~invalid)
        images = np.concatenate(labelled)
        self.images: NDArray[np.int64] = np.flatnonzero(images).astype(np.int64)
        with_data = features.valid() & np.repeat(images, self.crops)
        self.rows: NDArray[np.int64] = np.flatnonzero(with_data).astype(np.int64)
        if not len(self.rows):
            raise InputError(
                "none of the crops that features are kept for has a label; use --no-linear-probe"
            )
        first = next(index for index in self.indices if index.manifest["labelled"])
        self.classes = len(first.taxonomy().classes)

    def labels(self, image: int) -> NDArray[np.int16]:
        """Class ids (crops, side, side), void −1, of the crops of one of `images`."""
        dump, number, _ = self.features.location(image * self.crops)
        (entry,) = self.indices[dump].entries(self.sampled[dump][[number]])
        ids = self.indices[dump].labels(entry)
        assert ids is not None  # only labelled images are asked for
        windows = crop_windows(ids.shape[0], ids.shape[1], five=self.crops == 5)
        return np.stack([square_labels(ids[window.slices], self.side) for window in windows])
