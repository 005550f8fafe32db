"""Fitting one member."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quandary.labels import CLASSES
from quandary_server.detector.examples import Examples, mirrored
from quandary_server.detector.fit_state import FitState
from quandary_server.detector.loss import detection_loss
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import FitSettings, NetSettings

MOST_WEIGHT = 10.0
"""A class weighs at most this much more, or less, than it would if all were equally frequent."""
RISE, LEAST_CYCLE = 0.2, 5
"""Share of the steps over which the learning rate rises, and steps of the shortest cycle: fewer take its beginning."""

MAX_GRADIENT = 5.0
"""Norm to which a step's gradient is clipped."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps done, and the mean loss since the last report."""

    step: int
    loss: float


def fit_member(
    examples: Examples, net_settings: NetSettings, settings: FitSettings, seed: int, start: FrustumNet | None = None
) -> FrustumNet:
    """Return a net fitted to the examples; start: a net to begin with, which stays as it is. Raises as `Fit` does."""
    fit = Fit(examples, net_settings, settings, seed)
    if start is not None:
        fit.net.load_state_dict(start.state_dict())
    while not fit.done:
        fit.advance()
    return fit.net.eval()


class Fit:
    """The fit of one net to examples, step by step; initialisation, order, masks and mirroring follow from the seed alone.

    What `state` returns between two reports lets another process go on with `restore`: to the same net, bit by bit, on the
    same type of CPU. One thread. Raises ValueError for fewer than 2 examples or a loss that is no longer finite.
    """

    def __init__(self, examples: Examples, net_settings: NetSettings, settings: FitSettings, seed: int) -> None:
        if len(examples) < 2:
            raise ValueError(f"{len(examples)} examples: at least 2 are needed")
        torch.set_num_threads(1)
        self._examples, self._settings = examples, settings
        self._rng = np.random.default_rng(seed)
        self._torch_rng = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # the layout in which small convolutions are fastest on a CPU
            self.net = FrustumNet(net_settings)
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        # a rise of no step at all divides by zero
        total_steps = max(settings.steps, LEAST_CYCLE) + 1
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=settings.learning_rate, total_steps=total_steps, pct_start=RISE
        )
        self._weights = class_weights(examples.classes, settings.class_weights)
        self._waiting = np.empty(0, np.intp)
        self.step = 0
        self.net.train()

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self._settings.steps

    def advance(self) -> Progress:
        """Take the steps up to the next report."""
        losses: list[float] = []
        while True:
            losses.append(self._take_step())
            if self.step % self._settings.report_every == 0 or self.done:
                return Progress(self.step, float(np.mean(losses)))

    def state(self) -> FitState:
        """Return all that the steps to come depend on beside what the fit was made of."""
        return FitState(
            step=self.step,
            net=self.net.state_dict(),
            optimiser=self._optimiser.state_dict(),
            schedule=self._schedule.state_dict(),
            order=self._waiting.copy(),
            order_rng=self._rng.bit_generator.state,
            mask_rng=self._torch_rng.get_state(),
        )

    def restore(self, state: FitState) -> None:
        """Go on from a state of a fit of the same examples, settings and seed."""
        self.net.load_state_dict(state.net)
        self._optimiser.load_state_dict(state.optimiser)
        self._schedule.load_state_dict(state.schedule)
        self._waiting = state.order
        self._rng.bit_generator.state = state.order_rng
        self._torch_rng.set_state(state.mask_rng)
        self.step = state.step

    def _take_step(self) -> float:
        loss = self._loss(self._next_batch())
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), MAX_GRADIENT, foreach=True)
        self._optimiser.step()
        self._schedule.step()

        self.step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(f"the loss is {value} at step {self.step}")
        return value

    def _loss(self, which: NDArray[np.intp]) -> torch.Tensor:
        settings, examples = self._settings, self._examples
        flip = self._rng.random(len(which)) < (0.5 if settings.mirror else 0.0)
        maps, geometry, boxes = mirrored(examples.maps[which], examples.geometry[which], examples.boxes[which], flip)
        image = torch.from_numpy(maps).contiguous(memory_format=torch.channels_last)
        embedding = self.net.embed(image, torch.from_numpy(geometry))
        mask_in = self._mask(embedding.shape)
        mask_hidden = self._mask((len(which), self.net.settings.hidden))
        logits, box, log_variance = self.net.head(embedding, mask_in, mask_hidden)
        classes = torch.from_numpy(examples.classes[which])
        return detection_loss(logits, box, log_variance, classes, torch.from_numpy(boxes), settings.box_weight, self._weights)

    def _mask(self, shape: tuple[int, ...]) -> torch.Tensor:
        dropout = self.net.settings.dropout
        return (torch.rand(shape, generator=self._torch_rng) >= dropout) / (1 - dropout)

    def _next_batch(self) -> NDArray[np.intp]:
        """Return the indexes of the next batch: epoch after epoch, each in a new order, the remainder carried over."""
        size = self._settings.batch
        while len(self._waiting) < size:
            self._waiting = np.concatenate([self._waiting, self._rng.permutation(len(self._examples))])
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return batch


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
