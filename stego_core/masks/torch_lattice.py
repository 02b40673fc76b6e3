"""The dense CRF on a GPU: the filters of `numpy_lattice.py` in torch, in float32.

Sums have a fixed order: the same image gets the same bytes on the same device.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stego_core.masks.crf import Crf, Mask, Pixels, Scores


@dataclass(frozen=True)
class TorchCrf(Crf):
    """The same field as `Crf`, computed on a torch device.

    Attributes:
        device: where, such as "cuda".
    """

    device: str = "cpu"

    @torch.inference_mode()
    def _marginals(self, scores: Scores, image: Pixels, data: Mask | None) -> Scores:
        height, width, _ = image.shape
        counted = np.ones(height * width, np.bool_) if data is None else data
        valid = torch.from_numpy(counted).to(self.device)
        features = torch.from_numpy(self._appearance(image)).to(self.device)
        unary = torch.from_numpy(np.ascontiguousarray(scores.T)).to(self.device)
        alike = Lattice(features, valid)
        near = Smoothing(valid.view(height, width), self.gaussian_xy)
        marginals = unary.softmax(dim=1)
        for _ in range(self.iterations):
            messages = self.bilateral_weight * alike.filter(marginals)
            messages += self.gaussian_weight * near.filter(marginals)
            marginals = (unary + messages).softmax(dim=1)
        return np.ascontiguousarray(marginals.cpu().numpy().T)


def on_device(crf: Crf, device: str) -> Crf:
    """The same CRF, computed there; on the CPU, and of another engine, itself."""
    if type(crf) is not Crf or torch.device(device).type == "cpu":
        return crf
    return TorchCrf(**{each.name: getattr(crf, each.name) for each in fields(Crf)}, device=device)


class Lattice:
    """A Gaussian filter of σ = 1 on the permutohedral lattice, symmetrically normalised."""

    def __init__(self, features: Tensor, valid: Tensor) -> None:
        """A filter over pixels with features (N, d) float32, in units of σ, where `valid` (N,).

        Raises:
            ValueError: features reach further than the lattice can number.
        """
        d = features.shape[1]
        points, self._weights = simplices(features[valid])
        keys, steps = _keys(points)
        keys, self._vertices = torch.unique(keys, return_inverse=True)
        order = self._vertices.flatten().argsort(stable=True)
        self._pixels, self._order, self._valid = order // (d + 1), order, valid
        self._counts = torch.bincount(self._vertices.flatten(), minlength=len(keys))
        self._neighbours = [(_number(keys, keys - s), _number(keys, keys + s)) for s in steps]
        ones = torch.ones(len(valid), 1, device=features.device)
        self._weights = self._weights / self.filter(ones)[valid].sqrt()

    def filter(self, values: Tensor) -> Tensor:
        """(N, K) values of the pixels, each with what it gets from all of them."""
        shares = values[self._valid][self._pixels] * self._weights.flatten()[self._order, None]
        at = torch.segment_reduce(shares, "sum", lengths=self._counts, axis=0, unsafe=True)
        for before, after in self._neighbours:
            padded = functional.pad(at, (0, 0, 0, 1))
            at = at + (padded[before] + padded[after]) / 2
        filtered = torch.zeros_like(values)
        filtered[self._valid] = sum(
            weights[:, None] * at[vertices]
            for weights, vertices in zip(self._weights.T, self._vertices.T, strict=True)
        )
        return filtered


class Smoothing:
    """A Gaussian filter over the pixels of an image, cut off at 3 σ, symmetrically normalised."""

    def __init__(self, valid: Tensor, sigma: float) -> None:
        """A filter of `sigma` pixels over those that are `valid` (H, W)."""
        self._radius = int(np.ceil(3 * sigma))
        self._size = valid.shape
        self._taps = [
            float(np.exp(-((step / sigma) ** 2) / 2))
            for step in range(-self._radius, self._radius + 1)
        ]
        self._roots = valid.reshape(-1, 1).float()
        answer = self.filter(self._roots)
        self._roots = torch.where(valid.reshape(-1, 1), answer.clamp(min=1).rsqrt(), 0.0)

    def filter(self, values: Tensor) -> Tensor:
        """(N, K) values of the pixels, each with what it gets from all of them."""
        grid = (self._roots * values).view(*self._size, -1)
        for axis, around in ((0, (0, 0, 0, 0)), (1, (0, 0))):
            padded = functional.pad(grid, (*around, self._radius, self._radius))
            length = self._size[axis]
            grid = sum(
                (tap * padded.narrow(axis, i, length) for i, tap in enumerate(self._taps)),
                torch.zeros_like(grid),
            )
        return self._roots * grid.view(values.shape)


def simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """The simplex of the lattice around each pixel; as `numpy_lattice.simplices`.

    Args:
        features: (N, d) float32.

    Returns:
        (N, d + 1, d) int64 the first coordinates of its vertices, and (N, d + 1) float32 the
        pixel's barycentric weights at them.
    """
    d = features.shape[1]
    elevated = _elevated(features)
    cells = elevated / (d + 1)
    rounded = (cells + cells.sign() / 2).trunc()
    nearest = rounded * (d + 1)
    rank = (nearest - elevated).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    rank = rank + rounded.sum(dim=1, keepdim=True).long()  # off the plane of the lattice
    turn = (d + 1) * ((rank < 0).long() - (rank > d).long())
    rank, nearest = rank + turn, nearest.long() + turn
    parts = (elevated - nearest) / (d + 1)
    weights = torch.zeros(len(features), d + 2, device=features.device)
    weights = weights.scatter_add(1, d - rank, parts).scatter_add(1, d + 1 - rank, -parts)
    weights = torch.cat([weights[:, :1] + 1 + weights[:, d + 1 :], weights[:, 1 : d + 1]], dim=1)
    corners = torch.arange(d + 1, device=features.device)[:, None]
    steps = corners - (d + 1) * (rank[:, None, :d] > d - corners).long()
    return nearest[:, None, :d] + steps, weights.clamp(min=0)


def _elevated(features: Tensor) -> Tensor:
    """(N, d + 1) features in the plane of the lattice, in which coordinates sum to 0."""
    d = features.shape[1]
    total, coordinates = torch.zeros_like(features[:, 0]), list[Tensor]()
    for i in range(d, 0, -1):
        scaled = float(np.sqrt(2 / 3 / (i * (i + 1))) * (d + 1)) * features[:, i - 1]
        coordinates.append(total - i * scaled)
        total = total + scaled
    return torch.stack([total, *reversed(coordinates)], dim=1)


def _keys(points: Tensor) -> tuple[Tensor, list[int]]:
    """One number for each point (…, d), d coordinates side by side, and what is added to it by a
    step along each axis: d there, −1 on all others; the last coordinate follows from the others.
    """
    d = points.shape[-1]
    bits = min(63 // d, 31)
    half, units = 1 << (bits - 1), [1 << (bits * axis) for axis in range(d)]
    if points.numel() and not (d - half <= points.min() and points.max() < half - d):
        raise ValueError("features reach further than the lattice; enlarge sigma")
    keys = ((points + half) * torch.tensor(units, device=points.device)).sum(dim=-1)
    return keys, [(d + 1) * unit - sum(units) for unit in [*units, 0]]


def _number(keys: Tensor, wanted: Tensor) -> Tensor:
    """The place of each wanted one among the sorted keys; len(keys) where it is none of them."""
    places = torch.searchsorted(keys, wanted)
    found = keys[places.clamp(max=len(keys) - 1)] == wanted
    return torch.where(found, places, len(keys))
