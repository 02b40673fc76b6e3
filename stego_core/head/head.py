"""The segmentation head: backbone features to compact codes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from stego_core.head.mean_shift import mean_shift


class Head(nn.Module):
    """code = A·drop(f) + B₂·relu(B₁·drop'(f)), per token (Hamilton et al. 2022, section 3.3).

    A: C→D, B₁: C→C, B₂: C→D; `drop` and `drop'` are independent channel dropouts: a channel is
    dropped for a whole image at once.
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

    def kept(self, images: int, generator: torch.Generator) -> list[Tensor]:
        """Dropout's factors of the channels of some images, for each branch (`channels_kept`)."""
        channels, device = self.hidden.in_features, self.hidden.weight.device
        return [
            channels_kept(images, channels, self.dropout, generator).to(device) for _ in range(2)
        ]

    def forward(self, features: Tensor, kept: Sequence[Tensor] | None = None) -> Tensor:
        """Codes (..., D) of features (..., C).

        `kept` are two of `channels_kept`, for each token its image's; None drops nothing.
        """
        a, b = (features, features) if kept is None else (features * keep for keep in kept)
        codes: Tensor = self.linear(a) + self.nonlinear(torch.relu(self.hidden(b)))
        return codes


class MeanShiftHead(nn.Module):
    """A head that reads whole images, after mean shift of their features (`mean_shift`)."""

    def __init__(self, head: nn.Module) -> None:
        """Wrap a head that was trained on shifted features, or the baseline's identity."""
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, kept: Sequence[Tensor] | None = None) -> Tensor:
        """Codes (B, ..., D) of all patches (B, ..., C) of B images; `kept` as in `Head`."""
        shifted = mean_shift(features)
        codes: Tensor = self.head(shifted) if kept is None else self.head(shifted, kept)
        return codes


class BesideFeatures(nn.Module):
    """Codes beside the features they are made from, both of norm 1: what the head took away stays.

    The cosine of two such vectors is the mean of their codes' and their features' cosines.
    """

    def __init__(self, head: nn.Module) -> None:
        """Wrap a head of codes of depth D."""
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """(B, ..., D + C) codes and features of all patches (B, ..., C) of B images."""
        codes = normalize(self.head(features), dim=-1)
        return torch.cat([codes, normalize(features, dim=-1)], dim=-1)


def channels_kept(images: int, channels: int, dropout: float, generator: torch.Generator) -> Tensor:
    """(images, channels) float32 factors: 0 with probability p = `dropout`, else 1 / (1 − p)."""
    return (torch.rand((images, channels), generator=generator) >= dropout).float() / (1 - dropout)
