"""The linear probe: a linear classifier of frozen codes."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional

from stego_core.labels.void import VOID

LEARNING_RATE = 5e-3
"""Of Adam."""
BATCH_TOKENS = 4096
"""Tokens of a step of `fit`."""
LEAST_PROBABILITY = 1e-5
"""Where pydensecrf's own `unary_from_softmax`, which STEGO calls, cuts probabilities off."""


class Probe(NamedTuple):
    """A linear classifier of codes: weight (classes, D) and bias (classes,), both float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class scores (..., classes) of codes (..., D)."""
        return np.asarray(codes @ self.weight.T + self.bias)


def label_shares(
    labels: NDArray[np.integer], height: int, width: int, classes: int
) -> NDArray[np.float32]:
    """(height, width, classes) float32: the share of each patch that each class covers.

    Cross-entropy against these shares equals the mean per-pixel cross-entropy of a prediction
    that is constant over the patch. Of labels (H, W), multiples of height and width in patches,
    void pixels (negative) count as no class.
    """
    one_hot = labels[..., None] == np.arange(classes)
    cells = one_hot.reshape(height, labels.shape[0] // height, width, -1, classes)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float32))


def fit(
    codes: NDArray[np.float32], shares: NDArray[np.float32], seed: int, steps: int = 1000
) -> Probe:
    """Cross-entropy fit by Adam; the head does not change.

    Args:
        codes: (N, D) float32 tokens.
        shares: (N, classes) float32 of `label_shares`.
        seed: of the batches.
        steps: optimiser steps of `BATCH_TOKENS` tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.from_numpy(codes), torch.from_numpy(shares)
    weight = torch.zeros((targets.shape[1], inputs.shape[1]), requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (BATCH_TOKENS,), generator=generator)
        log_probability = torch.log_softmax(inputs[rows] @ weight.T + bias, dim=-1)
        loss = -(targets[rows] * log_probability).sum(dim=-1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return Probe(weight.detach().numpy(), bias.detach().numpy())


class PixelFit:
    """A linear probe while it is fitted to pixels, as STEGO does it."""

    def __init__(self, depth: int, classes: int, device: str) -> None:
        """The probe of codes of this depth before the first step: zeros."""
        with torch.random.fork_rng(devices=[]):  # the constructor uses the global generator
            self.linear = nn.Linear(depth, classes).to(device)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)
        self.optimiser = torch.optim.Adam(self.linear.parameters(), lr=LEARNING_RATE)

    def step(self, codes: Tensor, labels: Tensor) -> float:
        """One step of Adam; returns the loss before it, NaN where every pixel is void.

        The loss is the mean cross-entropy over all non-void pixels, logits interpolated
        bilinearly to the labels' size (Hamilton et al. 2022, the released training step).

        Args:
            codes: (B, h, w, D) float32, detached.
            labels: (B, H, W) int64 class ids, void −1.
        """
        if not bool((labels != VOID).any()):
            return float("nan")
        logits = self.linear(codes).permute(0, 3, 1, 2)
        full = functional.interpolate(logits, labels.shape[-2:], mode="bilinear")
        loss = functional.cross_entropy(full, labels, ignore_index=VOID)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        return loss.item()

    def result(self) -> Probe:
        """The probe as it stands."""
        return Probe(*(value.detach().cpu().numpy() for value in self.linear.parameters()))


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """log softmax of logits (..., classes), at least log LEAST_PROBABILITY: a CRF's unary term."""
    least = np.log(np.float32(LEAST_PROBABILITY))
    return np.asarray(np.maximum(log_softmax(logits, axis=-1), least))
