"""Fits by draws of any number of sides, one side after the other.

Some iterations are kept as samples.

    prepare    cut the sides, build the blocks (`recspark.engine.relations`), write starting states
    iterate    priors     one task per side: the prior of its entities from their features and states
               a side     one task per block: entities from the other sides' states; the first side comes last
               watch      one task per block of the first side: sums over rows, and the running means of
                          predictions for watched rows
               close      the values that all rows share, from the sums
    finish     the states of the kept iterations, one table per side

Draws are functions of the iteration, so a fit that was killed goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa

from recspark.algorithms.contract import Entities, Sampler, Shared, State, Sums
from recspark.algorithms.stopping import should_stop
from recspark.data.arrow import as_arrow, write_part
from recspark.engine.moments import variance_shares
from recspark.engine.plan import Plan, Row
from recspark.engine.relations import Relations, build_relation, cut_side, side_moments
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store


@dataclass(frozen=True, kw_only=True)
class SamplingPlan(Plan):
    """The plan of a machine whose entities are drawn, or solved, side by side.

    Parameters
    ----------
    relations
        The encoded rows.
    blocks
        Number of blocks by side.
    features
        The names of the feature groups, by side.
    burn_in, samples
        Number of first iterations that are not kept, and of later iterations that are kept.
    """

    states = ("states", "priors", "means", "shared")
    prepared = ("cuts", "blocks")

    relations: Relations
    sampler: Sampler
    blocks: dict[str, int]
    features: dict[str, tuple[str, ...]]
    burn_in: int
    samples: int

    @property
    def made_from(self) -> tuple[object, ...]:
        """See `Plan.made_from`. The three numbers of the length say which samples are kept."""
        sampler = type(self.sampler).__name__, asdict(self.sampler)
        length = (self.max_iter, self.burn_in, self.samples)
        return (self.relations.digest, *sampler, self.blocks, self.features, length)

    @property
    def rows(self) -> int:
        """See `Plan.rows`."""
        return self.relations.totals.rows

    @property
    def remedy(self) -> str:
        """See `Plan.remedy`."""
        return self.sampler.remedy

    @property
    def sides(self) -> list[str]:
        """The names of the sides."""
        return [side.name for side in self.relations.sides]

    def jobs(self, side: str) -> list[tuple[str, int]]:
        """(side, block) of every block of a side."""
        return [(side, block) for block in range(self.blocks[side])]

    @property
    def all_jobs(self) -> list[tuple[str, int]]:
        """(side, block) of every block of every side."""
        return [job for side in self.sides for job in self.jobs(side)]

    def prepare(self, runner: Runner) -> None:
        """Cut the sides, build the blocks and their starting states."""
        moments = runner.map(partial(_cut, self), range(len(self.sides)))
        found = variance_shares(*map(np.stack, zip(*moments, strict=True)))
        shares = dict(zip(self.sides, found.tolist(), strict=True))
        runner.map(partial(_build, self, shares), self.all_jobs)
        runner.store.write_json(shared_of(0), self.sampler.begin(self.relations.totals, shares))

    def iterate(self, runner: Runner, iteration: int) -> Row:
        """One pass over all sides."""
        shared = runner.store.read_json(shared_of(iteration - 1))
        runner.map(partial(_prior, self, iteration), self.sides)
        for side in reversed(self.sides):
            drawn = runner.map(partial(_draw, self, shared, iteration), self.jobs(side))
        watched = runner.map(partial(_watch, self, shared, iteration), self.jobs(self.sides[0]))
        sums = _added([*drawn, *watched])
        shared, metrics = self.sampler.close(sums, shared, self.relations.totals, iteration)
        runner.store.write_json(shared_of(iteration), shared)
        return metrics

    def is_done(self, history: Sequence[Row]) -> bool:
        """See `recspark.algorithms.stopping.should_stop`; iterations of the burn-in do not count."""
        since = history[self.burn_in :]
        return len(since) > 1 and should_stop(since, self.tol, self.patience)

    def _planned(self, iterations: int) -> list[int]:
        """The iterations to keep out of this many: spread evenly after the burn-in."""
        first = min(self.burn_in, iterations - 1) + 1
        number = min(self.samples, iterations - first + 1)
        return sorted({round(kept) for kept in np.linspace(first, iterations, number)})

    def kept(self, history: Sequence[Row]) -> list[int]:
        """The planned iterations that the fit has reached, or the last one."""
        last = len(history)
        return [number for number in self._planned(self.max_iter) if number <= last] or [last]

    def shared(self, store: Store, kept: Sequence[int]) -> list[Shared]:
        """Offset, precision and cuts of each kept iteration, in the model's form."""
        return [self.sampler.export_shared(store.read_json(shared_of(number))) for number in kept]

    def prune(self, store: Store, history: Sequence[Row]) -> None:
        """Keep the states of the last two iterations and of the samples."""
        old = len(history) - 2
        if old < 0:
            return
        for side in self.sides:
            store.delete(f"priors/{side}-{old:05d}")
            if old not in self._planned(self.max_iter):
                for _, block in self.jobs(side):
                    store.delete(state_of(side, old, block))
        for _, block in self.jobs(self.sides[0]):
            store.delete(f"means/{block:05d}-{old:05d}")

    def export(self, runner: Runner, chains: Sequence[tuple[Self, list[int]]]) -> None:
        """Write the tables of all sides; the last chain has all kinds of states."""
        last, _ = chains[-1]
        kept = [(plan.root, number) for plan, numbers in chains for number in numbers]
        runner.map(partial(_export, self, last, kept), self.all_jobs)


def state_of(side: str, iteration: int, block: int) -> str:
    """The entry of a block's state after an iteration."""
    return f"states/{side}-{iteration:05d}-{block:05d}"


def shared_of(iteration: int) -> str:
    """The file with the values that all rows share after an iteration."""
    return f"shared/{iteration:05d}.json"


def _cut(plan: SamplingPlan, store: Store, side: int) -> tuple[float, np.ndarray]:
    """Worker: cut a side into blocks, and return the moments of its rows."""
    cut_side(store, plan.relations, side, plan.blocks[plan.sides[side]])
    return side_moments(plan.relations, side)


def _build(plan: SamplingPlan, shares: dict[str, float], store: Store, job: tuple[str, int]) -> None:
    """Worker: build a block and its starting state."""
    side, block = job
    build_relation(store, plan.relations, plan.sides.index(side), block, plan.sampler.targets)
    first = int(store.load(f"cuts/{side}")["cuts"][block])
    rows = store.load(f"blocks/{side}-{block:05d}/train")
    store.save(state_of(side, 0, block), **plan.sampler.start(side, first, rows, shares))


def _added(parts: list[Sums]) -> Sums:
    sums: Sums = {}
    for part in parts:
        for key, value in part.items():
            sums[key] = sums[key] + value if key in sums else value
    return sums


def _prior(plan: SamplingPlan, iteration: int, store: Store, side: str) -> None:
    """Worker: the prior of a whole side."""
    root = Store(plan.relations.root)
    states = [store.load(state_of(side, iteration - 1, block)) for block in range(plan.blocks[side])]
    own = (
        {key: np.concatenate([state[key] for state in states]) for key in states[0]}
        if len(states) > 1
        else states[0]
    )
    before = store.load(f"priors/{side}-{iteration - 1:05d}") if iteration > 1 else {}
    features = {group: root.load(f"features/{side}/{group}") for group in plan.features[side]}
    store.save(
        f"priors/{side}-{iteration:05d}", **plan.sampler.draw_prior(side, features, own, before, iteration)
    )


def _draw(plan: SamplingPlan, shared: Shared, iteration: int, store: Store, job: tuple[str, int]) -> Sums:
    """Worker: the entities of one block."""
    side, block = job
    entry = f"blocks/{side}-{block:05d}"
    lo, hi = (int(cut) for cut in store.load(f"cuts/{side}")["cuts"][block : block + 2])
    own = store.load(state_of(side, iteration - 1, block))
    prior = store.load(f"priors/{side}-{iteration:05d}")
    prior = {key: value[lo:hi] if key in own else value for key, value in prior.items()}
    table = _table(plan, store, entry, iteration, newest=plan.sides.index(side) + 1)
    entities = Entities(side, lo, store.load(f"{entry}/train"), table, own, prior)
    state, sums = plan.sampler.draw_block(entities, shared, iteration, plan.threads)
    store.save(state_of(side, iteration, block), **state)
    return sums


def _watch(plan: SamplingPlan, shared: Shared, iteration: int, store: Store, job: tuple[str, int]) -> Sums:
    """Worker: sums over the rows of one block of the first side, by the new states."""
    side, block = job
    entry = f"blocks/{side}-{block:05d}"
    roles = [*(["train"] if plan.sampler.ordered else []), *plan.relations.watched]
    if not roles:
        return {}
    table, sums = _table(plan, store, entry, iteration, newest=0), Sums()
    number = max(iteration - 1 - plan.burn_in, 0)
    before = store.load(f"means/{block:05d}-{iteration - 1:05d}") if number else {}
    means = {}
    for role in roles:
        rows = store.load(f"{entry}/rows-{role}")
        mean = before.get(role, np.zeros(len(rows["values"])))
        means[role], part = plan.sampler.watch(role, rows, table, shared, mean, number, plan.threads)
        sums |= part
    store.save(
        f"means/{block:05d}-{iteration:05d}",
        **{role: mean for role, mean in means.items() if role != "train"},
    )
    return sums


def _table(plan: SamplingPlan, store: Store, entry: str, iteration: int, newest: int) -> State:
    """The states of the entities that a block needs; each side's last row is for no entity.

    Sides from number `newest` on have the states of this iteration, the others those of the last one. The
    last row of a side is zeros if some training rows have no entity of it. Else only watched rows can use it,
    and it is the average, as for a new entity. Arrays without columns, as the factors of the last sides may
    be, are left out.
    """
    needed = store.load(f"{entry}/needed")["needed"]
    pieces, first = [], 0
    for number, side in enumerate(plan.sides):
        states = [
            store.load(state_of(side, iteration if number >= newest else iteration - 1, block))
            for block in range(plan.blocks[side])
        ]
        for state in states:
            n = len(next(iter(state.values())))
            lo, hi = np.searchsorted(needed, (first, first + n))
            whole = hi - lo == n
            pieces.append(
                state if whole else {key: value[needed[lo:hi] - first] for key, value in state.items()}
            )
            first += n
        # if all training rows have an entity, only watched rows, scored by the newest states, may lack one
        pieces.append(
            _average(states) if newest == 0 and not plan.relations.absent[side] else _nothing(states)
        )
        first += 1
    held = {key: [piece[key] for piece in pieces if piece[key].shape[1:] != (0,)] for key in pieces[0]}
    return {key: np.concatenate(arrays) for key, arrays in held.items()}


def _nothing(states: list[State]) -> State:
    return {key: np.zeros((1, *value.shape[1:]), value.dtype) for key, value in states[0].items()}


def _average(states: list[State]) -> State:
    """One row: the mean over a side's entities."""
    return {
        key: np.concatenate([state[key] for state in states])
        .mean(axis=0, keepdims=True, dtype=np.float64)
        .astype(value.dtype)
        for key, value in states[0].items()
    }


def _export(
    plan: SamplingPlan, last: SamplingPlan, kept: list[tuple[str, int]], store: Store, job: tuple[str, int]
) -> None:
    """Worker: write one block's rows of a side's table as Parquet.

    They come from the kept iterations of all chains (root, iteration); `last` is the plan of the last chain.
    """
    side, block = job
    [by_id] = [known.by_id for known in plan.relations.sides if known.name == side]
    lo, hi = store.load(f"cuts/{side}")["cuts"][block : block + 2]
    stores = {root: store if root == plan.root else Store(root) for root, _ in kept}
    states = [stores[root].load(state_of(side, number, block)) for root, number in kept]
    table = (
        Store(plan.relations.root).load_table(f"ids/{side}").slice(lo, hi - lo)
        if by_id
        else pa.table({"id": np.arange(lo, hi)})
    )
    counts = np.diff(store.load(f"blocks/{side}-{block:05d}/train")["indptr"])
    for key, array in {"count": counts, **last.sampler.export(side, states)}.items():
        table = table.append_column(key, as_arrow(array))
    write_part(store.fs, store.at(f"{plan.model}/{side}/part-{block:05d}.parquet"), table)
