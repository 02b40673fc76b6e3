"""Published models: a STEGO checkpoint becomes what a workspace labels images with."""

from flows.runs.pipeline import make_current
from flows.runs.session import alone, connected
from flows.runs.settings import RunOptions
from stego_core.masks.crf import SHARPNESS
from tasks.options import (
    ClustersOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    StorageOptions,
)
from tasks.released import importing
from tasks.released.importing import Imported
from tasks.workspace.workspace import Workspace

RESOLUTION = 320
"""Short side at which STEGO is evaluated, pixels."""


RELEASED_MASKS = MasksOptions(
    resolution=RESOLUTION,
    views="mirror",
    tile=2 * RESOLUTION,
    tile_overlap=RESOLUTION // 2,
    sharpness=SHARPNESS,
    crf_pixels="released",
)
"""How STEGO's evaluation labels images: few are too long to be read whole, as its squares are."""


def import_checkpoint(
    workspace: str,
    file: str,
    backbone: str | None = None,
    taxonomy: str | None = None,
    storage_options: StorageOptions | None = None,
) -> Imported:
    """Make a published STEGO model the current one of a workspace; nothing in the file is executed.

    Masks are made as in its evaluation: at a short side of 320 pixels, with a unary factor of 2.
    Importing the same model again changes nothing.

    Args:
        workspace: path or URI; made if there is none.
        file: path or URI of the checkpoint.
        backbone: timm's name of its transformer; None tells it by the shapes.
        taxonomy: path or URI of the taxonomy of its linear probe's classes, which then name the
            clusters; None leaves them numbered until labels are scored.

    Raises:
        WeightsError: the file is no STEGO checkpoint, is damaged, or names what it has no need of.
        OptionError: the backbone does not exist, or the taxonomy does not fit.
        WorkspaceError: another run writes the workspace.
    """
    storage = storage_options or StorageOptions()
    with connected(storage):
        checkpoint = importing.read(file, backbone, taxonomy)
        opened = Workspace.create(workspace)
        with alone(workspace, storage):
            model = importing.keep(opened, checkpoint)
            make_imported_current(opened, model, RunOptions(masks=RELEASED_MASKS))
    return model


def make_imported_current(opened: Workspace, model: Imported, options: RunOptions) -> None:
    """Make an imported model the current one; masks and scores are made with these options."""
    parts = {
        "features": FeaturesOptions(backbone=model.backbone.name, layer=model.backbone.layer),
        "head": HeadOptions(code_size=model.code_size),
        "clusters": ClustersOptions(classes=model.classes),
    }
    make_current(opened, model.keys, {}, options.model_copy(update=parts))
    opened.update_last_run(backbone=model.backbone.document())
