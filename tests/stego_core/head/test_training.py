"""Training: the right tokens, the right loss, a step of Adam, and runs that repeat exactly."""

import copy
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.head.batches import (
    HeadBatch,
    Images,
    TrainingSet,
    draw_batch,
    sample_positions,
    step_generator,
)
from stego_core.head.head import Head
from stego_core.head.shift_presets import RANDOM_DRAWS, Triple
from stego_core.head.training import (
    HeadCurve,
    PreparedStep,
    Recipe,
    TrainingState,
    measured_shifts,
    prepare_step,
    start,
    train,
    train_step,
)

Weights = dict[str, NDArray[np.float64]]
CHANNELS, CODES = 6, 3
WEIGHTS = Triple(0.7, 0.2, 0.5)
SHIFTS = Triple(0.1, 0.2, 0.3)


def recipe(steps: int = 6, **changes: object) -> Recipe:
    options: dict[str, object] = {
        "steps": steps,
        "batch": 4,
        "grid": 3,
        "learning_rate": 1e-2,
        "seed": 11,
        "weights": WEIGHTS,
    }
    return Recipe(**{**options, **changes})  # type: ignore[arg-type]


def numbered(rows: NDArray[np.int64]) -> Images:
    """Rows of (4, 5, 2) patches that say who they are: (row, position)."""
    position = np.arange(20).reshape(4, 5)
    patches = np.stack([np.stack([np.full((4, 5), row), position], -1) for row in rows])
    return Images(patches.astype(np.float16))


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    """Thirty images of 4×4 patches, each patch from one of four noisy directions."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, (30, 4, 4))
    kinds[:, :2] = rng.integers(0, 4, (30, 1, 1))  # half of an image is of one kind
    directions = rng.normal(size=(4, CHANNELS))
    noise = 0.3 * rng.normal(size=(30, 4, 4, CHANNELS))
    patches = (directions[kinds] + noise).astype(np.float16)
    positives = np.stack([np.flatnonzero(kinds[:, 0, 0] == k)[:5] for k in kinds[:, 0, 0]])
    return TrainingSet(lambda rows: Images(patches[rows]), np.arange(30), positives)


def all_steps(state: TrainingState, data: TrainingSet, plan: Recipe) -> Iterator[HeadCurve]:
    steps = range(state.step, plan.steps)
    return train(state, plan, (prepare_step(data, plan, state.shifts, "cpu", n) for n in steps))


def run(
    data: TrainingSet, plan: Recipe, dropout: float = 0.1
) -> tuple[TrainingState, list[HeadCurve]]:
    state = start(CHANNELS, CODES, dropout, plan, SHIFTS, "cpu")
    return state, list(all_steps(state, data, plan))


def same(a: TrainingState, b: TrainingState) -> bool:
    heads = ((a.head, b.head), (a.average, b.average))
    pairs = [pair for x, y in heads for pair in zip(x.parameters(), y.parameters(), strict=True)]
    return all(torch.equal(x, y) for x, y in pairs) and a.shifts == b.shifts


class TestTokens:
    def test_a_batch_draws_anchors_their_neighbours_and_two_sets(self) -> None:
        rows = np.array([3, 5, 8, 13])
        positives = np.array([[103, 113], [105, 115], [108, 118], [123, 133]])
        batch = draw_batch(TrainingSet(numbered, rows, positives), 40, 3, step_generator(0, 1))
        chosen = set()
        compared = batch.compared(batch.tokens)
        for anchor, positive, other in zip(*compared[:3], strict=True):
            row, neighbour = anchor[0, 0].item(), positive[0, 0].item()
            index = rows.tolist().index(row)
            assert neighbour in positives[index]
            assert (anchor[:, 0] == row).all()
            assert (positive[:, 0] == neighbour).all()
            assert (other[:, 0] == row).all()
            assert torch.equal(positive[:, 1], other[:, 1])  # set 2 serves both
            assert not torch.equal(anchor[:, 1], other[:, 1])
            chosen.add((index, positives[index].tolist().index(neighbour)))
        assert len(chosen) == 8  # every row and every neighbour comes up
        assert {int(p) for p in compared.anchor[..., 1].flatten()} == set(range(20))
        assert compared.anchor.shape == (40, 9, 2)
        assert compared.partners.shape == (5, 40)

    def test_a_patch_is_in_a_batch_once_and_knows_its_image(self) -> None:
        """Row and position tell a patch; a row may be drawn for several images of the step."""
        rows = np.array([3, 5, 8, 13])
        data = TrainingSet(numbered, rows, rows[:, None] + 100)
        batch = draw_batch(data, 6, 5, step_generator(0, 1))
        named = torch.cat([batch.images[:, None], batch.tokens], dim=1)
        assert len(named.unique(dim=0)) == len(named) < batch.positions.numel()
        assert batch.positions.unique().tolist() == list(range(len(named)))
        images = batch.images[batch.positions]
        own = torch.arange(6)[:, None].expand(6, 25)
        assert torch.equal(images, torch.stack([own, own + 6, own]))

    def test_positions_follow_the_weights(self) -> None:
        weights = np.tile([[1.0, 2.0], [1e-9, 1.0]], (3, 1, 1)).astype(np.float32)
        images = Images(np.zeros((3, 2, 2, 1), np.float16), weights)
        drawn = sample_positions(images, 4000, step_generator(0, 1))
        assert drawn.shape == (3, 4000)
        for row in drawn:
            shares = torch.bincount(row, minlength=4) / 4000
            assert shares.tolist() == pytest.approx([0.25, 0.5, 0, 0.25], abs=0.03)
        assert not torch.equal(drawn[0], drawn[1])

    def test_weighted_batches_have_three_sets(self) -> None:
        def weighted(rows: NDArray[np.int64]) -> Images:
            half = np.where(np.arange(20).reshape(1, 4, 5) < 10, 1, 1e-9)
            return Images(numbered(rows).patches, np.repeat(half, len(rows), axis=0))

        rows = np.arange(4)
        data = TrainingSet(weighted, rows, rows[:, None] + 10)
        batch = draw_batch(data, 40, 3, step_generator(0, 1))
        sets = [part[..., 1] for part in batch.compared(batch.tokens)[:3]]
        assert all(float(part.max()) < 10 for part in sets)
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(sets, 2))

    def test_steps_draw_apart_and_seeds_too(self) -> None:
        draws = {
            torch.randint(2**40, (1,), generator=step_generator(seed, step)).item()
            for seed in range(20)
            for step in range(20)
        }
        assert len(draws) == 400


def slow_codes(weights: Weights, token: list[float]) -> list[float]:
    def affine(name: str, x: list[float]) -> list[float]:
        matrix, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return [
            b + sum(w * v for w, v in zip(row, x, strict=True))
            for row, b in zip(matrix, bias, strict=True)
        ]

    hidden = [max(h, 0.0) for h in affine("hidden", token)]
    return [
        a + b for a, b in zip(affine("linear", token), affine("nonlinear", hidden), strict=True)
    ]


def slow_cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def slow_term(weights: Weights, a: Tensor, b: Tensor, shift: float) -> tuple[float, float]:
    """Loss of a kind of pair and its mean code correspondence, (B, n, C) tokens each."""
    f, s = [], []
    for tokens_a, tokens_b in zip(a.tolist(), b.tolist(), strict=True):
        codes_a = [slow_codes(weights, token) for token in tokens_a]
        codes_b = [slow_codes(weights, token) for token in tokens_b]
        f.append([[slow_cosine(x, y) for y in tokens_b] for x in tokens_a])
        s.append([[slow_cosine(x, y) for y in codes_b] for x in codes_a])
    cells = [
        (i, h, j) for i in range(len(f)) for h in range(len(f[0])) for j in range(len(f[0][0]))
    ]
    mean = sum(f[i][h][j] for i, h, j in cells) / len(cells)
    loss = 0.0
    for i, h, j in cells:
        centred = f[i][h][j] - sum(f[i][h]) / len(f[i][h]) + mean
        loss -= max(s[i][h][j], 0) * (centred - shift) / len(cells)
    return loss, sum(s[i][h][j] for i, h, j in cells) / len(cells)


def slow_loss(
    weights: Weights, tokens: HeadBatch, shifts: Triple
) -> tuple[float, list[tuple[float, float]]]:
    batch = tokens.compared(tokens.tokens)
    terms = [
        slow_term(weights, batch.anchor, batch.anchor, shifts.self),
        slow_term(weights, batch.anchor, batch.positive, shifts.knn),
    ]
    draws = [slow_term(weights, batch.anchor, batch.other[d], shifts.rand) for d in batch.partners]
    count = len(draws)
    terms.append((sum(d[0] for d in draws) / count, sum(d[1] for d in draws) / count))
    total = WEIGHTS.self * terms[0][0] + WEIGHTS.knn * terms[1][0] + WEIGHTS.rand * terms[2][0]
    return total, terms


class TestStep:
    @pytest.fixture
    def parts(self, data: TrainingSet) -> tuple[TrainingState, PreparedStep, Recipe]:
        """A state without dropout, its first step, the recipe."""
        plan = recipe(batch=3, grid=2)
        state = start(CHANNELS, CODES, 0.0, plan, SHIFTS, "cpu")
        return state, prepare_step(data, plan, SHIFTS, "cpu", 0), plan

    def weights(self, state: TrainingState) -> Weights:
        return {n: v.double().numpy().copy() for n, v in state.head.state_dict().items()}

    def test_five_random_partners(self) -> None:
        assert RANDOM_DRAWS == 5

    @pytest.mark.parametrize("negatives", [1, 2])
    def test_another_number_of_random_partners(self, data: TrainingSet, negatives: int) -> None:
        plan = recipe(batch=3, grid=2, negatives=negatives)
        state = start(CHANNELS, CODES, 0.0, plan, SHIFTS, "cpu")
        step = prepare_step(data, plan, SHIFTS, "cpu", 0)
        assert len(step[0].partners) == negatives
        total, _ = slow_loss(self.weights(state), step[0], state.shifts)
        assert train_step(state, step, plan).loss == pytest.approx(total, abs=1e-6)

    def test_without_centring_the_cosines_less_the_shifts_are_compared(
        self, data: TrainingSet
    ) -> None:
        batch, shifted, _ = prepare_step(data, recipe(centring=False), SHIFTS, "cpu", 0)
        tokens = batch.compared(torch.nn.functional.normalize(batch.tokens, dim=-1))
        shifts = [SHIFTS.self, SHIFTS.knn, *[SHIFTS.rand] * RANDOM_DRAWS]
        for (one, other), found, shift in zip(tokens.pairs(), shifted, shifts, strict=True):
            expected = torch.einsum("bic,bjc->bij", one, other) - shift
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)

    def test_losses_means_and_total_equal_the_loop(
        self, parts: tuple[TrainingState, PreparedStep, Recipe]
    ) -> None:
        state, step, plan = parts
        total, terms = slow_loss(self.weights(state), step[0], state.shifts)
        row = train_step(state, step, plan)
        assert row.loss == pytest.approx(total, abs=1e-6)
        found = (row.loss_self, row.loss_knn, row.loss_rand)
        assert found == pytest.approx([loss for loss, _ in terms], abs=1e-6)
        assert row.means == pytest.approx([mean for _, mean in terms], abs=1e-6)
        assert (row.step, state.step) == (0, 1)

    def test_first_step_of_adam_goes_down_the_numerical_gradient(
        self, parts: tuple[TrainingState, PreparedStep, Recipe]
    ) -> None:
        state, step, plan = parts
        before = self.weights(state)
        train_step(state, step, plan)
        after = self.weights(state)
        for name, index in [
            ("linear.weight", (0, 0)),
            ("linear.bias", (1,)),
            ("hidden.weight", (2, 3)),
            ("nonlinear.weight", (1, 4)),
        ]:
            losses = []
            for change in (-1e-5, 1e-5):
                moved = copy.deepcopy(before)
                moved[name][index] += change
                losses.append(slow_loss(moved, step[0], SHIFTS)[0])
            gradient = (losses[1] - losses[0]) / 2e-5
            expected = -plan.learning_rate * gradient / (abs(gradient) + 1e-8)
            assert after[name][index] - before[name][index] == pytest.approx(expected, rel=1e-2)

    def test_half_precision_stays_close_and_keeps_the_weights_float32(
        self, data: TrainingSet
    ) -> None:
        rows = []
        for precision in ("float32", "bfloat16"):
            plan = recipe(batch=8, grid=4, precision=precision)
            state = start(CHANNELS, CODES, 0.1, plan, SHIFTS, "cpu")
            step = prepare_step(data, plan, SHIFTS, "cpu", 0)
            assert step[0].tokens.dtype == plan.dtype
            assert {values.dtype for values in step[1]} == {torch.float32}
            rows.append(train_step(state, step, plan))
            tensors = [*state.head.parameters(), *(p.grad for p in state.head.parameters())]
            assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert rows[0] != rows[1]
        assert rows[1] == pytest.approx(rows[0], abs=1e-3)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_parts_side_by_side_give_the_same_bits(self, data: TrainingSet, precision: str) -> None:
        plan = recipe(batch=8, grid=4, precision=precision)
        states = [start(CHANNELS, CODES, 0.1, plan, SHIFTS, "cpu") for _ in range(2)]
        for state, together in zip(states, (map, ThreadPoolExecutor(3).map), strict=True):
            for number in range(3):
                train_step(state, prepare_step(data, plan, SHIFTS, "cpu", number), plan, together)
        assert same(*states)

    def test_an_image_drops_the_same_channels_for_all_of_its_tokens(
        self, data: TrainingSet
    ) -> None:
        """As in STEGO, whose head reads an image once; every branch and image draws anew."""
        plan = recipe(batch=3, grid=2)
        state = start(CHANNELS, CODES, 0.5, plan, SHIFTS, "cpu")
        step = prepare_step(data, plan, SHIFTS, "cpu", 0)
        seen: list[tuple[Tensor, Tensor]] = []
        forward = state.head.forward

        def watched(tokens: Tensor, kept: tuple[Tensor, Tensor]) -> Tensor:
            seen.append(kept)
            return forward(tokens, kept)

        state.head.forward = watched
        train_step(state, step, plan)
        first, second = (torch.cat(parts) for parts in zip(*seen, strict=True))
        assert not torch.equal(first, second)
        of_images = [first[step[0].images == image] for image in range(6)]
        assert all(torch.equal(kept, kept[:1].expand_as(kept)) for kept in of_images)
        assert len({tuple(kept[0].tolist()) for kept in of_images}) > 1


class TestRepeatability:
    def test_same_seed_same_run(self, data: TrainingSet) -> None:
        (first, rows), (again, rows_again) = run(data, recipe()), run(data, recipe())
        assert same(first, again)
        assert rows == rows_again

    def test_another_seed_is_another_run(self, data: TrainingSet) -> None:
        assert not same(run(data, recipe())[0], run(data, recipe(seed=12))[0])

    def test_global_state_is_irrelevant_and_untouched(self, data: TrainingSet) -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
        first, _ = run(data, recipe())
        assert torch.equal(before, torch.get_rng_state())
        assert np.array_equal(before_numpy, np.random.get_state()[1])
        torch.manual_seed(2)
        np.random.seed(2)
        assert same(first, run(data, recipe())[0])

    @pytest.mark.parametrize("stop", [0, 1, 4])
    def test_resuming_gives_the_undisturbed_run(self, data: TrainingSet, stop: int) -> None:
        plan = recipe(averaging=0.8)
        undisturbed, rows = run(data, plan)
        state = start(CHANNELS, CODES, 0.1, plan, SHIFTS, "cpu")
        seen = [next(all_steps(state, data, plan)) for _ in range(stop)]
        head, average = copy.deepcopy(state.head.state_dict()), copy.deepcopy(state.average)
        optimiser = copy.deepcopy(state.optimiser.state_dict())

        fresh = Head(CHANNELS, CODES)
        fresh.load_state_dict(head)
        adam = torch.optim.Adam(fresh.parameters(), lr=1.0)
        adam.load_state_dict(optimiser)
        resumed = TrainingState(fresh, adam, state.shifts, state.step, average)
        seen += list(all_steps(resumed, data, plan))
        assert same(resumed, undisturbed)
        assert seen == rows

    @pytest.mark.parametrize("decay", [0.0, 0.7, 0.99])
    def test_the_average_forgets_where_training_began(
        self, data: TrainingSet, decay: float
    ) -> None:
        plan = recipe(averaging=decay)
        state = start(CHANNELS, CODES, 0.1, plan, SHIFTS, "cpu")
        seen = []
        for _ in all_steps(state, data, plan):
            seen.append(state.head.linear.weight.detach().clone())
        weights = [decay ** (len(seen) - 1 - step) for step in range(len(seen))]
        mean = sum(w * value for w, value in zip(weights, seen, strict=True)) / sum(weights)
        torch.testing.assert_close(state.average.linear.weight.detach(), mean)
        assert torch.equal(state.average.linear.weight, seen[-1]) == (decay == 0)

    def test_forgetting_the_optimiser_would_be_noticed(self, data: TrainingSet) -> None:
        plan = recipe()
        undisturbed, _ = run(data, plan)
        state = start(CHANNELS, CODES, 0.1, plan, SHIFTS, "cpu")
        for _ in range(3):
            next(all_steps(state, data, plan))
        state.optimiser = torch.optim.Adam(state.head.parameters(), lr=plan.learning_rate)
        list(all_steps(state, data, plan))
        assert not same(state, undisturbed)

    def test_every_step_draws_its_own_images(self, data: TrainingSet) -> None:
        read: list[tuple[int, ...]] = []

        def images(rows: NDArray[np.int64]) -> Images:
            read.append(tuple(rows))
            return data.images(rows)

        run(TrainingSet(images, data.rows, data.positives), recipe(5))
        assert len(set(read)) == len(read) == 10  # anchors and positives of five steps

    def test_a_finished_run_has_nothing_left(self, data: TrainingSet) -> None:
        plan = recipe(steps=2)
        state, rows = run(data, plan)
        assert [row.step for row in rows] == [0, 1]
        assert list(all_steps(state, data, plan)) == []


class TestMeasuredShifts:
    def test_they_are_of_the_first_batches_and_repeat(self, data: TrainingSet) -> None:
        plan = recipe(batch=8)
        found = measured_shifts(data, plan)
        assert found == measured_shifts(data, plan)
        assert measured_shifts(data, recipe(batch=8, seed=12)).shifts == pytest.approx(
            found.shifts, abs=0.05
        )

    def test_neighbours_of_one_kind_attract_more_than_random_images(
        self, data: TrainingSet
    ) -> None:
        """The data's positives share half of their patches' kinds."""
        shares = measured_shifts(data, recipe(batch=8)).shares
        assert shares.self > shares.knn > 2 * shares.rand

    @pytest.mark.long
    @pytest.mark.parametrize(("batch", "grid", "batches"), [(2, 2, 256), (40, 40, 1)])
    def test_large_batches_are_measured_fewer_times(
        self, data: TrainingSet, batch: int, grid: int, batches: int
    ) -> None:
        read: list[int] = []

        def images(rows: NDArray[np.int64]) -> Images:
            read.append(len(rows))
            return data.images(rows)

        counted = TrainingSet(images, data.rows, data.positives)
        measured_shifts(counted, recipe(batch=batch, grid=grid))
        assert read == [batch] * (2 * batches)
