"""The query: which of the scored candidates are labelled next, and in which order."""

import math

import numpy as np

from quandary_server.selection.apportioning import Apportioning
from quandary_server.selection.asked import Asked
from quandary_server.selection.balance import class_floor
from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.core_set import k_centre, known, unit
from quandary_server.selection.cover import cover, totals
from quandary_server.selection.folding import siblings, spaced
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.selection.quotas import Traits
from quandary_server.selection.ranking import Order, power_order, random_order, top_k, within_budget


def query(
    candidates: Candidates, taken: Taken, plan: QueryPlan, k: int, rng: np.random.Generator, budget_s: float | None = None
) -> Order:
    """Return the indices of up to k candidates, first wanted first: rank, fold, reserve for classes, spread, leave some
    to chance, keep the quotas, fit the budget.

    Near copies of what is taken or picked fill up only where too few are apart, with `fold` hardly ever (`_folded`). The class
    floor is filled from all that are apart, the core-set or cover takes what it leaves of k. Picks are in the order of the
    ranking, those of K_CENTRE and COVER in the order of picking, so that every start of them is a core-set or cover; what
    chance draws is spread among them. Quotas shape the shortlist and, at the end, every start of the picks, with those of the
    taken that fold before them: a pick that would break one gives way to the next in the ranking that breaks none, the class
    floor's too. So the k-centre's and the cover's order hold where quotas do not bind.
    budget_s: seconds of labelling work at which the picks end, though never before the first; None: no budget. Neither the
    order of the candidates nor that of the taken changes what is picked.
    Raises ValueError for k below 0, for embeddings of two sizes, and for a quota whose tag the candidates lack.
    """
    if k < 0:
        raise ValueError(f"k must be >= 0, is {k}")
    size, taken_size = candidates.embeddings.shape[1], taken.embeddings.shape[1]
    if size != taken_size:
        raise ValueError(f"embeddings of candidates and taken must have one size, they have {size} and {taken_size}")
    by_id = np.argsort(candidates.ids)
    candidates = candidates.take(by_id)

    order = _ranked(candidates, plan, rng)

    order = _folded(order, candidates, taken, plan, k)

    quotas = _quotas(candidates, taken.that_are("folds"), plan)
    order = quotas.apportioned(order, math.ceil(plan.shortlist * k))

    k = min(k, len(order))
    by_score = k - math.floor(plan.chance * k)
    reserved = class_floor(order, candidates.class_shares, by_score, plan.class_floor)

    spread = _spread(_without(order, reserved), reserved, candidates, taken, plan, by_score - len(reserved))

    picks = np.concatenate([reserved, spread])
    drawn = _by_chance(_without(order, picks), candidates, rng)[: k - len(picks)]
    if plan.strategy is Strategy.COVER:
        picks = cover(picks, candidates, taken, plan.reach, len(picks))
    elif plan.strategy is not Strategy.K_CENTRE:
        picks = order[np.isin(order, picks)]
    picks = _interleaved(picks, drawn)
    picks = quotas.apportioned(np.concatenate([picks, _without(order, picks)]), k)[:k]
    if budget_s is not None:
        picks = within_budget(picks, candidates.seconds, budget_s)
    return np.asarray(by_id[picks])


def asked(
    candidates: Candidates, taken: Taken, plan: QueryPlan, k: int, rng: np.random.Generator, budget_s: float | None = None
) -> Asked:
    """Return what `query` picks, and what is folded: near copies of picks and of what was taken by the newest generation.

    Raises as `query` does.
    """
    picks = query(candidates, taken, plan, k, rng, budget_s)
    if not plan.fold:
        return Asked(picks, np.full(len(candidates), -1, np.intp))
    held = taken.that_are("folds")
    under = siblings(picks, candidates, held, plan.nearness)
    rows = np.append(np.flatnonzero(taken.folds if taken.folds is not None else []), len(taken) + np.arange(len(candidates)))
    return Asked(picks, np.where(under < 0, -1, rows[under]).astype(np.intp))


def _quotas(candidates: Candidates, asked: Taken, plan: QueryPlan) -> Apportioning:
    """Return the quotas over what is asked for already and then the candidates."""
    tags = np.empty((len(candidates), 0), np.str_) if candidates.tags is None else candidates.tags
    shares_before = (
        np.zeros((len(asked), candidates.class_shares.shape[1])) if asked.class_shares is None else asked.class_shares
    )
    tags_before = np.full((len(asked), tags.shape[1]), "") if asked.tags is None else asked.tags
    values = np.concatenate([tags_before, tags])
    frames = Traits(
        np.concatenate([asked.drives, candidates.drives]),
        np.concatenate([shares_before, candidates.class_shares]),
        dict(zip(plan.tag_keys, values.T, strict=False)),
    )
    return Apportioning.of(plan.quotas, frames, len(asked))


def _ranked(candidates: Candidates, plan: QueryPlan, rng: np.random.Generator) -> Order:
    if plan.strategy is Strategy.RANDOM:
        return random_order(rng, len(candidates))
    if plan.strategy is Strategy.POWER:
        return power_order(candidates.scores, rng, plan.power)
    if plan.strategy is Strategy.COVER:
        return top_k(totals(candidates), candidates.ids)
    return top_k(candidates.scores, candidates.ids)


def _by_chance(order: Order, candidates: Candidates, rng: np.random.Generator) -> Order:
    """Return an order drawn by chance, in proportion to the objects expected in each."""
    return order[power_order(candidates.class_shares[order, :-1].sum(axis=1), rng, 1.0)]


def _interleaved(picks: Order, drawn: Order) -> Order:
    """Return both, each in its order, so that every start holds about as large a share of either as the whole does."""
    places = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in (picks, drawn)]
    return np.concatenate([picks, drawn])[np.argsort(np.concatenate(places), kind="stable")]


def _folded(order: Order, candidates: Candidates, taken: Taken, plan: QueryPlan, k: int) -> Order:
    """Return those apart; where they are fewer than k, all of them and then of those passed over.

    With folds only those that are near to nothing but what earlier generations had labelled, and are apart from each other.
    Where nothing is left but near copies of what is labelled, those are asked for too, apart from each other and the leased.
    """
    apart, passed = spaced(order, candidates, taken, plan.nearness)
    if len(apart) >= k or not plan.fold:
        return np.concatenate([apart, passed[: max(k - len(apart), 0)]])
    order = np.concatenate([apart, passed])
    again, _ = spaced(order, candidates, taken.that_are("folds"), plan.nearness)
    if len(again) == 0:
        again, _ = spaced(order, candidates, taken.that_are("leased"), plan.nearness)
    return again


def _spread(order: Order, reserved: Order, candidates: Candidates, taken: Taken, plan: QueryPlan, k: int) -> Order:
    """Return k of an order: the first k, or a core-set of its first, whose unknown embeddings come last, or a cover of them."""
    if plan.strategy is Strategy.COVER:
        return cover(order[: math.ceil(plan.shortlist * k)], candidates, taken, plan.reach, k)
    if not plan.spreads or k == 0:
        return order[:k]
    shortlist = order if plan.strategy is Strategy.K_CENTRE else order[: math.ceil(plan.shortlist * k)]
    near = shortlist[known(candidates.embeddings[shortlist])]
    covered = unit(np.concatenate([taken.embeddings, candidates.embeddings[reserved]]))
    centres = near[k_centre(unit(candidates.embeddings[near]), covered[known(covered)], k)]
    return np.concatenate([centres, _without(shortlist, centres)])[:k]


def _without(order: Order, others: Order) -> Order:
    return order[~np.isin(order, others)]
