"""What manifests of earlier versions say."""

from tasks.workspace.summary import class_count


def test_older_clusters_say_their_number_among_the_options() -> None:
    assert class_count({"options": {"classes": 5}}) == 5
    assert class_count({"options": {"classes": "auto"}, "classes": 3}) == 3
