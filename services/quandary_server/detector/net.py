"""FrustumNet: a trunk that runs once and a head that runs once per dropout mask.

After Feng et al. 2019 (arXiv 1901.10609): classify and regress the object inside a camera proposal's frustum. The sizes, and
dropout in the head only, are our choices; the paper's could not be confirmed.
"""

import itertools

import torch
from torch import Tensor, nn

from quandary.labels import CLASSES
from quandary_server.detector.settings import NetSettings
from quandary_server.frustum.anchor import BOX_PARAMETERS, REGRESSED
from quandary_server.frustum.raster import CHANNELS, GEOMETRY


class FrustumNet(nn.Module):
    """maps (D, 3, H, W), geometry (D, G), masks (T, E) and (T, F) -> logits (T, D, C), box (T, D, 10), log-variance (T, D, 7),
    embedding (D, E).

    In training the masks are (D, E) and (D, F), one per crop, and T = 1.
    """

    def __init__(self, settings: NetSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = [len(CHANNELS), *settings.channels]
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
                for i, o in itertools.pairwise(widths)
            )
        )
        cells = (settings.side // 8) ** 2
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, settings.image_embedding), nn.ReLU())
        self.geometry = nn.Sequential(nn.Linear(len(GEOMETRY), settings.geometry_embedding), nn.ReLU())
        self.hidden = nn.Sequential(nn.Linear(settings.embedding, settings.hidden), nn.ReLU())
        self.outputs = [len(CLASSES), REGRESSED, len(BOX_PARAMETERS)]
        self.output = nn.Linear(settings.hidden, sum(self.outputs))

    def embed(self, maps: Tensor, geometry: Tensor) -> Tensor:
        """Return the embedding (D, E): the trunk, without dropout."""
        embedding: Tensor = torch.cat([self.image(self.convolutions(maps)), self.geometry(geometry)], dim=1)
        return embedding

    def head(self, embedding: Tensor, mask_in: Tensor, mask_hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, box and log-variance of masked embeddings; all broadcast to (T, D, .)."""
        hidden = self.hidden(embedding * mask_in) * mask_hidden
        logits, box, log_variance = self.output(hidden).split(self.outputs, dim=-1)
        return logits, box, log_variance.clamp(-8.0, 8.0)

    def forward(
        self, maps: Tensor, geometry: Tensor, mask_in: Tensor, mask_hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits (T, D, C), box (T, D, 10), log-variance (T, D, 7) and embedding (D, E) under T masks."""
        embedding = self.embed(maps, geometry)
        # (1, D, E) x (T, 1, E)
        return (*self.head(embedding[None], mask_in[:, None], mask_hidden[:, None]), embedding)
