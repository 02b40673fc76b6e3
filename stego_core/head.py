"""The segmentation head: backbone features to compact codes."""

import math

import torch
from torch import Tensor, nn

from stego_core.meanshift import mean_shift


class Head(nn.Module):
    """code = A·drop(f) + B₂·relu(B₁·drop'(f)), per token (Hamilton et al. 2022, section 3.3).

    A: C→D, B₁: C→C, B₂: C→D; `drop` and `drop'` are independent channel dropouts: a channel is
    dropped for a whole image at once.

    Use `Head.create` for one whose weights come from a generator.
    """

    def __init__(self, channels: int, code_size: int, dropout: float = 0.1) -> None:
        """A head from C channels to codes of depth D; dropout is a channel's probability."""
        super().__init__()
        self.dropout = dropout
        self.linear = nn.Linear(channels, code_size)
        self.hidden = nn.Linear(channels, channels)
        self.nonlinear = nn.Linear(channels, code_size)

    @classmethod
    def create(
        cls, channels: int, code_size: int, generator: torch.Generator, dropout: float = 0.1
    ) -> "Head":
        """A head whose weights are uniform in ±1/√C, drawn from the generator alone."""
        with torch.random.fork_rng(devices=[]):  # the constructors draw from the global state
            head = cls(channels, code_size, dropout)
        bound = 1 / math.sqrt(channels)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
        return head

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes (B, ..., D) of features (B, ..., C).

        Args:
            features: float tensor, the first axis counts images.
            generator: draws the dropout; None means none is applied (evaluation).
        """
        a, b = features, features
        if generator is not None and self.dropout > 0:
            a, b = (drop_channels(features, self.dropout, generator) for _ in range(2))
        codes: Tensor = self.linear(a) + self.nonlinear(torch.relu(self.hidden(b)))
        return codes


class MeanShiftHead(nn.Module):
    """A head that reads whole images, their features drawn together first (`mean_shift`)."""

    def __init__(self, head: nn.Module) -> None:
        """Around a head that was trained on features so drawn together, or `IdentityHead`."""
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes (B, ..., D) of all patches (B, ..., C) of B images."""
        codes: Tensor = self.head(mean_shift(features), generator)
        return codes


class IdentityHead(nn.Module):
    """Codes that are the raw features: the rival that a trained head has to beat."""

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The features themselves, (B, ..., C)."""
        return features


def drop_channels(features: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zero each channel of each image with `probability`, scale the rest by 1 / (1 − p)."""
    batch, channels = features.shape[0], features.shape[-1]
    draw = torch.rand((batch, channels), generator=generator, device=generator.device)
    keep = (draw >= probability).to(features) / (1 - probability)
    return features * keep.reshape(batch, *[1] * (features.dim() - 2), channels)
