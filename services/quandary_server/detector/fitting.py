"""Fitting one member."""

import math
from collections.abc import Callable

import numpy as np
import torch

from quandary_server.detector.examples import Examples, mirrored
from quandary_server.detector.loss import detection_loss
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import FitSettings, NetSettings

Progress = Callable[[int, float], None]
"""Called with the steps done and the mean loss since the last call."""


def fit_member(
    examples: Examples, net_settings: NetSettings, settings: FitSettings, seed: int, progress: Progress | None = None
) -> FrustumNet:
    """Return a net fitted to the examples; initialisation, order, masks and mirroring follow from the seed alone.

    One thread. Raises ValueError for fewer than 2 examples or a loss that is no longer finite.
    """
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples: at least 2 are needed")
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    torch_rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FrustumNet(net_settings)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.2
    )

    net.train()
    losses: list[float] = []
    batches = _batches(len(examples), settings.batch, rng)
    for step in range(1, settings.steps + 1):
        loss = _loss(net, examples, next(batches), settings, rng, torch_rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()

        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the loss is {losses[-1]} at step {step}")
        if progress and (step % settings.report_every == 0 or step == settings.steps):
            progress(step, float(np.mean(losses)))
            losses.clear()
    return net.eval()


def _loss(
    net: FrustumNet,
    examples: Examples,
    which: np.ndarray,
    settings: FitSettings,
    rng: np.random.Generator,
    torch_rng: torch.Generator,
) -> torch.Tensor:
    flip = rng.random(len(which)) < (0.5 if settings.mirror else 0.0)
    maps, geometry, boxes = mirrored(examples.maps[which], examples.geometry[which], examples.boxes[which], flip)
    embedding = net.embed(torch.from_numpy(maps), torch.from_numpy(geometry))
    mask_in = _mask(embedding.shape, net.settings.dropout, torch_rng)
    mask_hidden = _mask((len(which), net.settings.hidden), net.settings.dropout, torch_rng)
    logits, box, log_variance = net.head(embedding, mask_in, mask_hidden)
    classes = torch.from_numpy(examples.classes[which])
    return detection_loss(logits, box, log_variance, classes, torch.from_numpy(boxes), settings.box_weight)


def _mask(shape: tuple[int, ...], dropout: float, rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=rng) >= dropout) / (1 - dropout)


def _batches(count: int, size: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Yield index arrays for ever: epoch after epoch, each in a new order, the remainder carried over."""
    waiting = np.empty(0, np.intp)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]
