"""A small finished workspace for the explorer's tests, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flags import QUICK, TINY

from flows.cli import main

IMAGES = 6


def pipeline_on(workspace: str, corpus: Path, command: str, dump: str) -> None:
    """`stego run` or `backfill` on a corpus of scenes."""
    given = ["--workspace", workspace, "--images", str(corpus / "images"), "--dump", dump]
    if command == "run":
        labels = ["--labels", str(corpus / "labels"), "--taxonomy", str(corpus / "taxonomy.json")]
        given += [*labels, "--neighbors", "4", *TINY, *QUICK]
        given += ["--steps", "6", "--no-baseline", "--no-linear-probe"]
    main([command, *given, "--executor", "loop"])


@pytest.fixture(scope="session")
def explored(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A folder with a corpus `train` of 6 scenes and its finished workspace `ws`."""
    folder = tmp_path_factory.mktemp("explored")
    train = make_corpus(folder / "train", IMAGES)
    pipeline_on(str(folder / "ws"), train, "run", "train")
    return folder
