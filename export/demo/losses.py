"""What the demo's VAE is trained by: pictures alike in colour, in edges, and to the eye of a critic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

COARSE, EDGE_SCALES = (2, 8), (1, 2, 4)
EDGE = 0.15
"""What is an edge to the critic's pupil, of a range of 2: more than the grain of grass and sand."""


def reconstruction(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 + half the squared error + L1 of the colours at two coarse scales + a quarter of the edges' L1; of
    [b, 3, h, w] in −1 … 1. The coarse term makes colours come early: at full size brightness outweighs them."""
    loss = F.l1_loss(made, wanted) + 0.5 * F.mse_loss(made, wanted) + 0.25 * edges(made, wanted)
    for scale in COARSE:
        off = F.avg_pool2d(made - wanted, scale)
        loss = loss + 0.5 * off.abs().mean() + 1.5 * (off - off.mean(1, keepdim=True)).abs().mean()
    return loss


def edges(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 between the gradients of two pictures, summed over three scales and both axes."""
    loss = made.new_zeros(())
    for scale in EDGE_SCALES:
        a, b = (F.avg_pool2d(picture, scale) for picture in (made, wanted))
        for axis in (2, 3):
            loss = loss + F.l1_loss(a.diff(dim=axis), b.diff(dim=axis))
    return loss


def near_edges(picture: torch.Tensor) -> torch.Tensor:
    """1 within 4 px of where neighbours in [b, 3, h, w] differ by EDGE, else 0; float [b, 1, h, w]."""
    steps = torch.zeros_like(picture)
    steps[:, :, :, 1:] = picture.diff(dim=3).abs()
    steps[:, :, 1:] = torch.maximum(steps[:, :, 1:], picture.diff(dim=2).abs())
    return (F.max_pool2d(steps.amax(1, keepdim=True), 9, 1, 4) > EDGE).float()


class Critic(nn.Module):
    """A patch discriminator (Isola et al. 2017, arXiv 1611.07004) with spectral norm (Miyato et al. 2018).

    It sees 16 px around each of its scores: textures and edges, no shapes.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        sizes = ((3, width, 4, 2), (width, 2 * width, 4, 2), (2 * width, 2 * width, 3, 1), (2 * width, 1, 3, 1))
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, size, stride, padding=1)) for before, after, size, stride in sizes
        )

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The scores of [b, 3, h, w] in −1 … 1, high for true ones, [b, 1, h / 4, w / 4]; and what led to them."""
        features = []
        for layer in self.layers[:-1]:
            picture = F.leaky_relu(layer(picture), 0.2)
            features.append(picture)
        return self.layers[-1](picture), features

    def mistakes(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The hinge loss of the critic itself, between 0 and about 2: 2 is that of guessing."""
        return F.relu(1 - self(wanted)[0]).mean() + F.relu(1 + self(made.detach())[0]).mean()

    def likeness(self, made: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For who made the picture: what the critic thinks of it, negated, and how unlike the features are
        (feature matching, Larsen et al. 2016, arXiv 1512.09300), near the edges of `wanted` alone.

        Elsewhere a critic asks for a texture that is like the true one but lies elsewhere: measured over the whole
        picture, backgrounds lost 1.6 dB.
        """
        scores, features = self(made)
        with torch.no_grad():
            _, true_features = self(wanted)
        edge = near_edges(wanted)
        unlike = [_mean_at(edge, (a - b).abs()) for a, b in zip(features, true_features, strict=True)]
        return -_mean_at(edge, scores), torch.stack(unlike).sum()


def _mean_at(where: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The mean of [b, c, h', w'] where [b, 1, h, w] is 1, counted over everything: little where there is little."""
    return (values * F.adaptive_max_pool2d(where, values.shape[2:])).mean()
