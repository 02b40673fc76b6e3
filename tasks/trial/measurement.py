"""How long each piece of a run's work takes on this machine, by doing a little of each.

Weights change no time, so random ones are taken, and nothing is downloaded or stored.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.backbone import vit
from stego_core.backbone.vit import Backbone
from stego_core.clustering import kmeans
from stego_core.errors import ImageError
from stego_core.head import mean_shift, training
from stego_core.head.batches import Images, TrainingSet, step_generator
from stego_core.head.head import Head, MeanShiftHead
from stego_core.head.training import Recipe
from stego_core.images.geometry import training_crops
from stego_core.masks.patch_codes import Windows, image_codes
from stego_core.masks.segmenter import refined, scorer
from tasks.clusters import code_sample
from tasks.engine import machine
from tasks.features.enough_images import CROPS
from tasks.head.mean_shift_reader import shifted
from tasks.images import image_codecs
from tasks.masks.segmenter import COARSE, refiner
from tasks.options import ComputeOptions, FeaturesOptions, HeadOptions, MasksOptions
from tasks.storage.storage import Storage
from tasks.trial.rates import Rates

CPU_CROPS, GPU_CROPS = 5, 130
"""Crops of a batch, about as many as in the stage."""
STEPS = 8
"""Training steps that are timed, after one that is not."""
COMPARED = 2048
"""Crops that are compared with as many others."""
SEEN = 2
"""Images whose codes are computed as for masks."""
CRF_SIDE = 320
"""Side of the piece of an image that the CRF refines, pixels."""
FEW, MANY = 8, 24
"""Numbers of classes that the CRF is timed with: the rest lies on a line."""
CLUSTERED = 16_384
"""Codes of a k-means run, as many as the stage samples for one."""
NEIGHBOURS = 7
"""Neighbours of a crop, of which training samples one."""

Pixels = NDArray[np.uint8]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Timer:
    """Takes the time of calls by a clock, in seconds."""

    clock: Clock = time.perf_counter

    def once(self, call: Callable[[], Any], parts: int = 1) -> float:
        """Seconds of a call, divided by its parts."""
        begun = self.clock()
        call()
        return (self.clock() - begun) / parts

    def warm(self, call: Callable[[], Any], parts: int = 1) -> float:
        """The same of a second call: the first one makes what later ones find."""
        call()
        return self.once(call, parts)


class Tried(NamedTuple):
    """The options of a run whose pieces are tried."""

    features: FeaturesOptions
    head: HeadOptions
    masks: MasksOptions
    compute: ComputeOptions


def measured(
    storage: Storage,
    paths: Sequence[str],
    options: Tried,
    started: float,
    timer: Timer = Timer(),
) -> Rates:
    """The rates of a run.

    Args:
        storage: where its images lie.
        paths: of a few of them.
        options: of the run.
        started: seconds that the process took until now.
        timer: takes the time.

    Raises:
        ImageError: none of the images can be read.
        OptionError: there is no such backbone.
    """
    with machine.one_thread():
        images, read = _read(storage, paths, timer)
        backbone = _backbone(options.features, options.compute)
        crops = [training_crops(image, options.features.crop_size, five=True) for image in images]
        per_image = CROPS[options.features.crops]
        features, crop = _features(backbone, [part[:per_image] for part in crops], timer)
        trained = _trained(features, options.head, backbone, timer)
        masks = _masks(backbone, images, options.masks, options.head, timer)
        return Rates(
            start=started,
            read=read,
            crop=crop,
            pair=_pair(features, timer),
            restart=_restart(options.head.code_size, timer),
            pixels=float(np.mean([image.shape[0] * image.shape[1] for image in images])),
            workers=_workers(options.compute),
            **trained,
            **masks,
        )


def _workers(options: ComputeOptions) -> int:
    return machine.workers(options) if options.executor == "dask" else 1


def _read(storage: Storage, paths: Sequence[str], timer: Timer) -> tuple[list[Pixels], float]:
    """The images that can be read, and the seconds of one."""
    images: list[Pixels] = []

    def read(path: str) -> None:
        try:
            images.append(image_codecs.decode(storage.read(path), 2**28))
        except (ImageError, OSError):
            return

    seconds = [timer.once(partial(read, path)) for path in paths]
    if not images:
        raise ImageError("none of a few images could be read")
    return images, float(np.mean(seconds))


def _backbone(options: FeaturesOptions, compute: ComputeOptions) -> Backbone:
    """The backbone with random weights."""
    device = machine.device(compute.device)
    precision = machine.precision(options.precision, device)
    return vit.freeze(vit.bare_model(options.backbone), options.layer, device, precision=precision)


def _features(
    backbone: Backbone, crops: Sequence[Pixels], timer: Timer
) -> tuple[NDArray[np.float16], float]:
    """Patch features (n, h, w, C) of crops, and the seconds of one."""
    stacked = np.concatenate(crops)
    size = GPU_CROPS if machine.is_cuda(backbone.device) else CPU_CROPS
    batch = np.resize(stacked, (size, *stacked.shape[1:]))
    seconds = timer.warm(lambda: backbone.features(batch), size)
    return backbone.features(stacked).astype(np.float16), seconds


def _pair(features: NDArray[np.float16], timer: Timer) -> float:
    """Seconds of a comparison of two crops."""
    pooled = features.astype(np.float32).mean(axis=(1, 2))
    rows = torch.from_numpy(np.resize(pooled, (COMPARED, pooled.shape[1])))
    return timer.warm(lambda: (rows @ rows.T).topk(NEIGHBOURS), COMPARED**2)


def _trained(
    features: NDArray[np.float16], options: HeadOptions, backbone: Backbone, timer: Timer
) -> dict[str, float]:
    """Seconds of the parts of the training, and of the codes afterwards."""
    device = backbone.device
    shifts = options.recipe == mean_shift.RECIPE
    first = shifted(features) if shifts else Images(features)
    rows = np.arange(len(features), dtype=np.int64)
    others = (rows[:, None] + np.arange(1, NEIGHBOURS + 1)) % len(rows)
    data = TrainingSet(lambda at: _picked(first, at), rows, others)
    recipe = Recipe(
        STEPS + 1, options.batch, options.grid, options.learning_rate, options.seed,
        options.calibration().weights, negatives=options.negatives,
        precision=backbone.precision,
    )  # fmt: skip
    given = options.calibration().shifts
    measuring = timer.once(lambda: training.measured_shifts(data, recipe)) if not given else 0.0
    state = training.start(
        features.shape[-1], options.code_size, options.dropout, recipe,
        given or options.calibration().weights, device,
    )  # fmt: skip
    prepared = (training.prepare_step(data, recipe, state.shifts, device, n) for n in range(99))
    steps = training.train(state, recipe, prepared)
    next(steps)
    step = timer.once(lambda: [next(steps) for _ in range(STEPS)], STEPS)
    head = MeanShiftHead(state.head) if shifts else state.head
    patches = torch.from_numpy(features[0].astype(np.float32)).to(device)
    draw = np.random.default_rng(0)
    tokens = patches.shape[0] * patches.shape[1] // 2
    return {
        "shifts": measuring,
        "step": step,
        "shifted": timer.warm(lambda: shifted(features[:1])) if shifts else 0.0,
        "codes": timer.warm(lambda: code_sample.samples_of(head, patches, tokens, draw)),
    }


def _picked(images: Images, rows: NDArray[np.int64]) -> Images:
    weights = None if images.weights is None else images.weights[rows]
    return Images(images.patches[rows], weights)


def _restart(code_size: int, timer: Timer) -> float:
    """Seconds of a k-means run on noise, in which it takes long to settle."""
    noise = np.random.default_rng(0).normal(size=(CLUSTERED, code_size))
    codes = kmeans.unit(noise).astype(np.float32)
    return timer.once(lambda: kmeans.restart(codes, MANY, 0, 0))


def _masks(
    backbone: Backbone,
    images: Sequence[Pixels],
    options: MasksOptions,
    head_options: HeadOptions,
    timer: Timer,
) -> dict[str, float]:
    """Seconds of the backbone for an image, and of the CRF for a pixel."""
    coarse = round(COARSE * options.resolution) if options.views == "scales" else None
    windows = Windows(options.resolution, options.tile, options.tile_overlap, coarse=coarse)
    created = Head.create(backbone.channels, head_options.code_size, step_generator(0, 0))
    head = MeanShiftHead(created).eval().to(backbone.device)
    piece = np.ascontiguousarray(images[0][:CRF_SIDE, :CRF_SIDE])
    codes = image_codes(piece, backbone, head, windows)  # the first one makes what others find
    seen = images[:SEEN]
    image = timer.once(
        lambda: [image_codes(each, backbone, head, windows) for each in seen], len(seen)
    )
    times = [_refined(piece, codes, classes, options, windows, timer) for classes in (FEW, MANY)]
    each = max(times[1] - times[0], 0.0) / (MANY - FEW)
    pixels = piece.shape[0] * piece.shape[1]
    least = max(times[0] - FEW * each, 0.0)
    return {"image": image, "pixel": least / pixels, "class_pixel": each / pixels}


def _refined(
    piece: Pixels,
    codes: NDArray[np.float32],
    classes: int,
    options: MasksOptions,
    windows: Windows,
    timer: Timer,
) -> float:
    generator = np.random.default_rng(0)
    centroids = kmeans.unit(generator.normal(size=(classes, codes.shape[-1]))).astype(np.float32)
    crf = refiner(options)
    return timer.once(lambda: refined(codes, piece, scorer(centroids, crf), crf, windows))
