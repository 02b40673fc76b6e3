"""A STEGO checkpoint as Lightning writes it, with objects of classes that are not installed."""

import io
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from types import ModuleType
from typing import Any

import torch

from stego_core.backbone.vit import bare_model

CLASSES, EXTRA, CODE_SIZE = 5, 2, 12
PICO = "vit_pico_patch8_conv_64"


class Foreign:
    """What the classes below share; none of their methods may run while a file is read."""

    touched = False

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Foreign.touched = True
        self.__dict__.update(state)


NAMES = {
    "omegaconf.dictconfig": ("DictConfig",),
    "omegaconf.listconfig": ("ListConfig",),
    "omegaconf.base": ("ContainerMetadata", "Metadata"),
    "omegaconf.nodes": ("AnyNode",),
    "pytorch_lightning.callbacks.model_checkpoint": ("ModelCheckpoint",),
    "pytorch_lightning.utilities.parsing": ("AttributeDict",),
    "my_lab.settings": ("Settings",),
}


@contextmanager
def installed() -> Iterator[dict[str, type]]:
    """The foreign classes, importable until the end of the block and not after it."""
    found, before = {}, dict(sys.modules)
    for module, names in NAMES.items():
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            sys.modules[name] = ModuleType(name)
        for name in names:
            bases = (dict,) if name == "AttributeDict" else (Foreign,)
            found[name] = type(name, bases, {"__module__": module})
            setattr(sys.modules[module], name, found[name])
    try:
        yield found
    finally:
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in {module.split(".")[0] for module in NAMES}:
                del sys.modules[name]


def state_dict(
    backbone: str = PICO,
    seed: int = 0,
    classes: int = CLASSES,
    nonlinear: bool = True,
    code_size: int = CODE_SIZE,
) -> "OrderedDict[str, torch.Tensor]":
    """Random parameters under the names of STEGO's `LitUnsupervisedSegmenter`."""
    net = bare_model(backbone, seed)
    channels = int(net.num_features)
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / channels**0.5

    state = OrderedDict((f"net.model.{name}", value) for name, value in net.state_dict().items())
    layers = {"net.cluster1.0": (code_size, channels)}
    if nonlinear:
        layers |= {
            "net.cluster2.0": (channels, channels),
            "net.cluster2.2": (code_size, channels),
        }
    layers |= {"linear_probe": (classes, code_size), "decoder": (channels, code_size)}
    for name, shape in layers.items():
        state |= {f"{name}.weight": drawn(*shape, 1, 1), f"{name}.bias": drawn(shape[0])}
    state["train_cluster_probe.clusters"] = drawn(classes, code_size)
    state["cluster_probe.clusters"] = 9 * drawn(classes + EXTRA, code_size)
    state._metadata = OrderedDict({"": {"version": 1}})  # as torch.nn.Module.state_dict does
    return state


def checkpoint(state: dict[str, Any], made: dict[str, type], **settings: Any) -> dict[str, Any]:
    """What Lightning saves of a run of STEGO with this state dict."""
    nodes: dict[str, Any] = {}
    probed = state["linear_probe.weight"] if "linear_probe.weight" in state else range(CLASSES)
    clusters = state.get("cluster_probe.clusters", range(len(probed)))
    chosen = {
        "dino_feat_type": "feat",
        "dim": CODE_SIZE,
        "arch": "dino",
        "projection_type": "nonlinear" if "net.cluster2.0.weight" in state else "linear",
        "continuous": True,
        "dropout": True,
        "extra_clusters": len(clusters) - len(probed),
        "n_classes": len(probed),
        **settings,
    }
    config = made["DictConfig"](
        _metadata=made["ContainerMetadata"](
            ref_type=Any, object_type=dict, element_type=Any, key_type=str, optional=True
        ),
        _parent=None,
        _content=nodes,
    )
    for name, value in chosen.items():
        if name == "n_classes":  # beside the configuration, not in it
            continue
        nodes[name] = made["AnyNode"](
            _metadata=made["Metadata"](ref_type=Any, key=name), _parent=config, _val=value
        )
    nodes["tags"] = made["ListConfig"](_content=[nodes["dim"]], _parent=config)
    score = torch.tensor(41.5)
    return {
        "epoch": 3,
        "global_step": 4999,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": state,
        "loops": None,
        "callbacks": {
            made["ModelCheckpoint"]: {
                "monitor": "test/cluster/mIoU",
                "best_model_score": score,
                "dirpath": PosixPath("/home/somebody/secret-project"),
            }
        },
        "optimizer_states": [{"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": made["AttributeDict"](
            n_classes=chosen["n_classes"],
            cfg=config,
            sizes={1, 2},
            seen=defaultdict(list),
            device=torch.device("cpu"),
        ),
    }


def saved(document: Any, **options: Any) -> bytes:
    """The bytes that torch.save writes."""
    sink = io.BytesIO()
    torch.save(document, sink, **options)
    return sink.getvalue()


def write(path: Path, state: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A checkpoint file of the published form."""
    with installed() as made:
        path.write_bytes(saved(checkpoint(state or state_dict(), made, **settings)))
    return path
