"""Fitting one member."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quandary.labels import CLASSES
from quandary_server.detector.examples import Examples, mirrored
from quandary_server.detector.loss import detection_loss
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import FitSettings, NetSettings

MOST_WEIGHT = 10.0
"""A class weighs at most this much more, or less, than it would if all were equally frequent."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps done, and the mean loss since the last report."""

    step: int
    loss: float


def fit_member(examples: Examples, net_settings: NetSettings, settings: FitSettings, seed: int) -> FrustumNet:
    """Return a net fitted to the examples, as `fitting` does, without its reports."""
    steps = fitting(examples, net_settings, settings, seed)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            net: FrustumNet = end.value
            return net


def fitting(
    examples: Examples, net_settings: NetSettings, settings: FitSettings, seed: int
) -> Generator[Progress, None, FrustumNet]:
    """Fit a net to the examples, yielding progress; initialisation, order, masks and mirroring follow from the seed alone.

    One thread. Raises ValueError for fewer than 2 examples or a loss that is no longer finite.
    """
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples: at least 2 are needed")
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    torch_rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # the layout in which small convolutions are fastest on a CPU
        net = FrustumNet(net_settings)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.2
    )

    weights = class_weights(examples.classes, settings.class_weights)
    net.train()
    losses: list[float] = []
    batches = _batches(len(examples), settings.batch, rng)
    for step in range(1, settings.steps + 1):
        loss = _loss(net, examples, next(batches), settings, weights, rng, torch_rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0, foreach=True)
        optimiser.step()
        schedule.step()

        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the loss is {losses[-1]} at step {step}")
        if step % settings.report_every == 0 or step == settings.steps:
            yield Progress(step, float(np.mean(losses)))
            losses.clear()
    return net.eval()


def _loss(
    net: FrustumNet,
    examples: Examples,
    which: NDArray[np.intp],
    settings: FitSettings,
    weights: torch.Tensor | None,
    rng: np.random.Generator,
    torch_rng: torch.Generator,
) -> torch.Tensor:
    flip = rng.random(len(which)) < (0.5 if settings.mirror else 0.0)
    maps, geometry, boxes = mirrored(examples.maps[which], examples.geometry[which], examples.boxes[which], flip)
    image = torch.from_numpy(maps).contiguous(memory_format=torch.channels_last)
    embedding = net.embed(image, torch.from_numpy(geometry))
    mask_in = _mask(embedding.shape, net.settings.dropout, torch_rng)
    mask_hidden = _mask((len(which), net.settings.hidden), net.settings.dropout, torch_rng)
    logits, box, log_variance = net.head(embedding, mask_in, mask_hidden)
    classes = torch.from_numpy(examples.classes[which])
    return detection_loss(logits, box, log_variance, classes, torch.from_numpy(boxes), settings.box_weight, weights)


def class_weights(classes: NDArray[np.int64], power: float) -> torch.Tensor | None:
    """Return the weight (C,) of each class, (mean count / own count)^power within [1/10, 10]; None for a power of 0.

    Means and counts are over the classes (N,) that occur; those that do not weigh 1.
    """
    if power == 0:
        return None
    counts = np.bincount(classes, minlength=len(CLASSES))
    present = counts > 0
    rarity = np.divide(counts[present].mean(), counts, out=np.ones(len(counts)), where=present)
    return torch.from_numpy(np.clip(rarity**power, 1 / MOST_WEIGHT, MOST_WEIGHT).astype(np.float32))


def _mask(shape: tuple[int, ...], dropout: float, rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=rng) >= dropout) / (1 - dropout)


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield index arrays for ever: epoch after epoch, each in a new order, the remainder carried over."""
    waiting = np.empty(0, np.intp)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]
