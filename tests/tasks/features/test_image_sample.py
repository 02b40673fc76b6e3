"""The sample of images is stable as dumps arrive."""

from two_dumps import IMAGES

from tasks.corpus.index import IndexReader
from tasks.features import image_sample
from tasks.features.rows import FeatureRows


def test_a_dump_never_changes_the_sample_before_it(rows: FeatureRows) -> None:
    workspace = rows.workspace
    assert len(image_sample.sampled_rows(workspace, "first", 100)) == IMAGES
    assert len(image_sample.sampled_rows(workspace, "first", 5)) == 5
    of_second = image_sample.sampled_rows(workspace, "second", 5)
    hashes = {
        (dump, row): value
        for dump in ("first", "second")
        for row, value in enumerate(
            image_sample.id_hashes(
                dump,
                [i for part in IndexReader(workspace, dump).column("image_id") for i in part],
            )
        )
    }
    lowest = sorted(hashes, key=lambda key: hashes[key])[:5]
    assert [row for dump, row in sorted(lowest) if dump == "second"] == of_second.tolist()
