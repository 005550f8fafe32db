"""Baal's MC-dropout, in an environment of its own: run as a file by its Python, with the path of what `baal_peer` saved.

It knows nothing of this package. For each line on stdin, `cached` or `plain`, it writes the milliseconds of CPU per crop of one
round over the batches.
"""

import itertools
import json
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """FrustumNet with dropout layers where that takes masks: the same names, so the same weights; one output."""

    def __init__(self, net: dict[str, Any]) -> None:
        super().__init__()
        widths = [net["maps"], *net["channels"]]
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
                for i, o in itertools.pairwise(widths)
            )
        )
        cells = (net["side"] // 8) ** 2
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, net["image_embedding"]), nn.ReLU())
        self.geometry = nn.Sequential(nn.Linear(net["geometry"], net["geometry_embedding"]), nn.ReLU())
        embedding = net["image_embedding"] + net["geometry_embedding"]
        self.hidden = nn.Sequential(nn.Linear(embedding, net["hidden"]), nn.ReLU())
        self.output = nn.Linear(net["hidden"], net["outputs"])
        self.drop_in, self.drop_hidden = nn.Dropout(net["dropout"]), nn.Dropout(net["dropout"])

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return (D, outputs) for maps and geometry."""
        maps, geometry = inputs
        embedding = torch.cat([self.image(self.convolutions(maps)), self.geometry(geometry)], dim=1)
        found: Tensor = self.output(self.drop_hidden(self.hidden(self.drop_in(embedding))))
        return found


def main(path: str) -> None:
    """Answer rounds until stdin ends; the first line out tells how far the net is from the one that was saved."""
    from baal.bayesian.caching_utils import MCCachingModule
    from baal.bayesian.dropout import MCDropoutModule
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    torch.set_num_threads(1)
    saved = torch.load(path, weights_only=True)
    args = TrainingArgs(use_cuda=False, replicate_in_memory=False)

    def net() -> Net:
        made = Net(saved["net"])
        made.load_state_dict(saved["state"])
        return made.eval()

    with torch.no_grad():
        difference = max(float((net()(b) - e).abs().max()) for b, e in zip(saved["batches"], saved["expected"], strict=True))
    print(json.dumps(difference), flush=True)
    wrappers = {
        "plain": ModelWrapper(MCDropoutModule(net()).eval(), args),
        "cached": ModelWrapper(MCCachingModule(MCDropoutModule(net())).eval(), args),
    }
    crops = sum(len(maps) for maps, _ in saved["batches"])
    for line in sys.stdin:
        wrapper = wrappers[line.strip()]
        started = time.process_time()
        for batch in saved["batches"]:
            wrapper.predict_on_batch(batch, iterations=saved["samples"])
        print(json.dumps((time.process_time() - started) / crops * 1e3), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
