"""Self-distillation: losses and schedules against plain loops, and steps that repeat exactly."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from stego_core.pretrain.dino import (
    DinoRecipe,
    ProjectionHead,
    Schedule,
    cross_entropy,
    image_loss,
    information,
    patch_loss,
    targets,
)
from stego_core.pretrain.distillation import (
    DinoCurve,
    DinoState,
    ViewBatch,
    cosine,
    prepare_batch,
    rates,
    sample_views,
    start,
    train_step,
)
from stego_core.pretrain.views import Pixels, ViewRecipe

Array = NDArray[np.float64]
CHANNELS, PROTOTYPES = 8, 6
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
VIEWS = ViewRecipe(
    global_size=16,
    local_size=8,
    local_views=2,
    window=(1.0, 1.0),
    global_scale=(0.4, 0.9),
    local_scale=(0.1, 0.3),
)
RECIPE = DinoRecipe(
    steps=10,
    batch=3,
    views=VIEWS,
    seed=5,
    learning_rate=1e-2,
    warmup=2,
    weight_decay=Schedule(0.04, 0.4),
    momentum=0.9,
    temperature=Schedule(0.2, 0.3),
    temperature_steps=4,
    prototypes=PROTOTYPES,
    hidden=10,
    bottleneck=5,
    dense_weight=0.4,
    dense_points=7,
    dense_reach=0.0,
    frozen_steps=0,
    clip=1e9,
    precision="float32",
)


def met(views: list[Tensor], batch: ViewBatch) -> list[Tensor]:
    """What was said of the images whose views share anything."""
    return [view[batch.overlap > 0] for view in views]


def vit(seed: int = 0) -> VisionTransformer:
    """Patches of 4 pixels, one block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(
            img_size=16,
            patch_size=4,
            embed_dim=CHANNELS,
            depth=1,
            num_heads=2,
            num_classes=0,
            dynamic_img_size=True,
        )


def read(rows: NDArray[np.int64]) -> list[Pixels]:
    """Noise on a colour; no two images are of one shape."""
    images = []
    for row in rows.tolist():
        rng = np.random.default_rng(row)
        noise = rng.integers(0, 100, (30 + row, 40 - row, 3))
        images.append((noise + rng.integers(0, 155, 3)).astype(np.uint8))
    return images


def begin(recipe: DinoRecipe = RECIPE) -> DinoState:
    return start(vit(), recipe, "cpu")


def begun(recipe: DinoRecipe = RECIPE) -> DinoState:
    """A state whose teacher, centres and heads are apart from where they began."""
    state, generator = begin(recipe), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*state.student.parameters(), *state.teacher.parameters()]:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        for centre in (state.image_centre, state.patch_centre):
            centre += 0.1 * torch.randn(centre.shape, generator=generator)
    return state


def batches(recipe: DinoRecipe, first: int, last: int) -> list[ViewBatch]:
    return [prepare_batch(read, 6, recipe, None, step) for step in range(first, last)]


def weights(state: DinoState) -> dict[str, Tensor]:
    found = {
        f"{who}.{name}": value.detach().clone()
        for who, network in (("student", state.student), ("teacher", state.teacher))
        for name, value in network.named_parameters()
    }
    centres = {"image": state.image_centre.clone(), "patch": state.patch_centre.clone()}
    return found | centres


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def probabilities(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))


def cosines(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(-1, 1, shape))


def doubles(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slow_softmax(values: list[float]) -> list[float]:
    whole = sum(math.exp(value) for value in values)
    return [math.exp(value) / whole for value in values]


def slow_cross_entropy(target: list[float], said: list[float]) -> float:
    predicted = slow_softmax([cosine / 0.1 for cosine in said])
    return -sum(t * math.log(p) for t, p in zip(target, predicted, strict=True))


def slow_targets(said: list[float], centre: list[float], temperature: float) -> list[float]:
    return slow_softmax([(s - c) / temperature for s, c in zip(said, centre, strict=True)])


def slow_image_loss(target: list[Tensor], student: list[Tensor]) -> float:
    terms = [
        slow_cross_entropy(said[image].tolist(), heard[image].tolist())
        for t, said in enumerate(target)
        for s, heard in enumerate(student)
        for image in range(len(said))
        if s != t
    ]
    return sum(terms) / len(terms)


def slow_patch_loss(target: list[Tensor], student: list[Tensor], overlap: list[float]) -> float:
    terms = [
        slow_cross_entropy(target[t][image, point].tolist(), student[1 - t][image, point].tolist())
        for t in (0, 1)
        for image, meets in enumerate(overlap)
        for point in range(target[0].shape[1])
        if meets
    ]
    return sum(terms) / len(terms) if terms else 0.0


def slow_entropy(target: list[float]) -> float:
    return -sum(p * math.log(p) for p in target if p > 0)


class TestCrossEntropy:
    def test_equals_the_loop(self, rng: np.random.Generator) -> None:
        target, said = probabilities(rng, 3, 4, 5), cosines(rng, 3, 4, 5)
        found = cross_entropy(target, said)
        assert found.shape == (3, 4)
        for index in np.ndindex(3, 4):
            expected = slow_cross_entropy(target[index].tolist(), said[index].tolist())
            assert found[index].item() == pytest.approx(expected, rel=1e-5)

    def test_is_least_where_the_student_says_the_same(self, rng: np.random.Generator) -> None:
        target = probabilities(rng, 5)
        best = cross_entropy(target, 0.1 * target.log())
        assert best.item() == pytest.approx(slow_entropy(target.tolist()), rel=1e-5)
        assert (cross_entropy(target, cosines(rng, 20, 5)) > best).all()


class TestTargets:
    def test_equal_the_loop(self, rng: np.random.Generator) -> None:
        said, centre = cosines(rng, 4, 5), cosines(rng, 5)
        found = targets(said, centre, 0.07)
        for row, expected in zip(found.tolist(), said.tolist(), strict=True):
            assert row == pytest.approx(slow_targets(expected, centre.tolist(), 0.07), rel=1e-4)

    def test_of_what_is_always_said_are_uniform(self, rng: np.random.Generator) -> None:
        centre = cosines(rng, 5)
        assert torch.allclose(
            targets(centre.expand(3, 5), centre, 0.04), torch.full((3, 5), 0.2).double()
        )

    def test_stay_finite_where_half_precision_would_not(self) -> None:
        said = torch.tensor([[1.0, -1.0]], dtype=torch.float16)
        found = targets(said, torch.zeros(2), 1e-5)
        assert found.dtype == torch.float32
        assert found.tolist() == [[1.0, 0.0]]


class TestImageLoss:
    def test_equals_the_loop(self, rng: np.random.Generator) -> None:
        target = [probabilities(rng, 3, 5) for _ in range(2)]
        student = [cosines(rng, 3, 5) for _ in range(5)]
        found = image_loss(target, student)
        assert found.item() == pytest.approx(slow_image_loss(target, student), rel=1e-5)

    def test_leaves_out_a_view_with_itself(self, rng: np.random.Generator) -> None:
        target = [probabilities(rng, 3, 5) for _ in range(2)]
        student = [cosines(rng, 3, 5).requires_grad_() for _ in range(3)]
        (first,) = torch.autograd.grad(image_loss(target, student), student[:1])
        (again,) = torch.autograd.grad(
            image_loss([probabilities(rng, 3, 5), target[1]], student), student[:1]
        )
        assert torch.equal(first, again)
        (other,) = torch.autograd.grad(
            image_loss([target[0], probabilities(rng, 3, 5)], student), student[:1]
        )
        assert not torch.allclose(first, other)


class TestPatchLoss:
    @pytest.mark.parametrize("overlap", [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    def test_equals_the_loop(self, rng: np.random.Generator, overlap: list[float]) -> None:
        target = [probabilities(rng, 3, 4, 5) for _ in range(2)]
        student = [cosines(rng, 3, 4, 5) for _ in range(2)]
        found = patch_loss(target, student, torch.tensor(overlap))
        assert found.item() == pytest.approx(slow_patch_loss(target, student, overlap), rel=1e-5)

    def test_ignores_images_whose_views_do_not_meet(self, rng: np.random.Generator) -> None:
        target = [probabilities(rng, 2, 4, 5) for _ in range(2)]
        student = [cosines(rng, 2, 4, 5).requires_grad_() for _ in range(2)]
        patch_loss(target, student, torch.tensor([0.0, 1.0])).backward()
        for said in student:
            assert not said.grad[0].any()
            assert said.grad[1].any()

    def test_is_zero_where_no_views_meet(self, rng: np.random.Generator) -> None:
        target = [probabilities(rng, 2, 4, 5) for _ in range(2)]
        student = [cosines(rng, 2, 4, 5).requires_grad_() for _ in range(2)]
        loss = patch_loss(target, student, torch.zeros(2))
        loss.backward()
        assert loss.item() == 0
        assert not student[0].grad.any()


class TestInformation:
    def test_equals_the_loop(self, rng: np.random.Generator) -> None:
        target = probabilities(rng, 7, 5)
        target[0] = torch.eye(5)[2]
        rows = target.tolist()
        single = sum(slow_entropy(row) for row in rows) / 7
        whole = slow_entropy([sum(column) / 7 for column in zip(*rows, strict=True)])
        assert information(target) == pytest.approx((single, whole - single), rel=1e-9)

    def test_is_zero_for_both_kinds_of_collapse(self) -> None:
        uniform = torch.full((8, 5), 0.2)
        assert information(uniform) == pytest.approx((math.log(5), 0), abs=1e-6)
        one_hot = torch.eye(5)[torch.full((8,), 3)]
        assert information(one_hot) == (0, 0)

    def test_is_greatest_for_sure_and_balanced_targets(self) -> None:
        assert information(torch.eye(5).repeat(2, 1)) == pytest.approx((0, math.log(5)))


class TestRates:
    plan = replace(
        RECIPE, steps=100, warmup=10, temperature=Schedule(0.04, 0.07), temperature_steps=20
    )

    def test_learning_rate_rises_linearly_and_falls_as_a_cosine(self) -> None:
        found = [rates(self.plan, step).learning_rate for step in range(101)]
        assert found[:10] == pytest.approx([1e-3 * (step + 1) for step in range(10)])
        assert found[10] == pytest.approx(1e-2)
        assert found[55] == pytest.approx((1e-2 + 1e-6) / 2)
        assert found[100] == pytest.approx(1e-6)
        assert found[10:] == sorted(found[10:], reverse=True)

    def test_weight_decay_and_momentum_are_cosines(self) -> None:
        found = [rates(self.plan, step) for step in (0, 25, 50, 100)]
        quarter = 0.5 * (1 + math.cos(math.pi / 4))
        assert [row.weight_decay for row in found] == pytest.approx(
            [0.04, 0.4 - 0.36 * quarter, 0.22, 0.4]
        )
        assert [row.momentum for row in found] == pytest.approx([0.9, 1 - 0.1 * quarter, 0.95, 1])

    def test_temperature_is_linear_then_constant(self) -> None:
        found = [rates(self.plan, step).temperature for step in (0, 5, 10, 20, 21, 99)]
        assert found == pytest.approx([0.04, 0.0475, 0.055, 0.07, 0.07, 0.07])

    def test_without_warm_up_begin_at_the_peak(self) -> None:
        plain = rates(replace(self.plan, warmup=0, temperature_steps=0), 0)
        assert plain.learning_rate == pytest.approx(1e-2)
        assert math.isfinite(plain.temperature)

    def test_of_a_run_that_is_all_warm_up_are_finite(self) -> None:
        plan = replace(self.plan, steps=10)
        assert rates(plan, 9).learning_rate == pytest.approx(1e-2)

    def test_cosine_goes_from_first_to_last(self) -> None:
        assert [cosine(Schedule(3, 1), done) for done in (0, 1 / 3, 0.5, 1)] == pytest.approx(
            [3, 2.5, 2, 1]
        )


def slow_affine(weight: Array, bias: Array, x: list[float]) -> list[float]:
    return [
        sum(w * v for w, v in zip(r, x, strict=True)) + b for r, b in zip(weight, bias, strict=True)
    ]


def slow_head(head: ProjectionHead, token: list[float]) -> list[float]:
    """Cosines with the prototypes, in float64."""
    own = {name: value.double().numpy() for name, value in head.state_dict().items()}
    for layer in (0, 2, 4):
        token = slow_affine(own[f"layers.{layer}.weight"], own[f"layers.{layer}.bias"], token)
        if layer < 4:
            token = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in token]
    return [
        sum(p * v for p, v in zip(prototype, token, strict=True))
        / (math.hypot(*prototype) * math.hypot(*token))
        for prototype in own["prototypes"].tolist()
    ]


def slow_sampled(grid: Array, x: float, y: float) -> list[float]:
    """Bilinear between the centres of the cells of (C, h, w), the outermost ones going on."""
    _, height, width = grid.shape
    column = min(max((x + 1) / 2 * width - 0.5, 0), width - 1)
    row = min(max((y + 1) / 2 * height - 0.5, 0), height - 1)
    left, top = min(int(column), width - 2), min(int(row), height - 2)
    right, down = column - left, row - top
    upper = grid[:, top, left] * (1 - right) + grid[:, top, left + 1] * right
    lower = grid[:, top + 1, left] * (1 - right) + grid[:, top + 1, left + 1] * right
    return (upper * (1 - down) + lower * down).tolist()


def slow_tokens(model: VisionTransformer, views: Tensor) -> Array:
    mean, std = (doubles(constant).view(3, 1, 1) for constant in (MEAN, STD))
    normal = (views.double() - mean) / std
    with torch.no_grad():
        patches = copy.deepcopy(model).double().eval().forward_features(normal)[:, 1:].numpy()
    side = views.shape[-1] // 4
    return np.stack([p.T.reshape(CHANNELS, side, side) for p in patches])


class Slow:
    """What a network says about a batch, one image and one point at a time."""

    def __init__(self, network: torch.nn.Module, batch: ViewBatch) -> None:
        views = [slow_tokens(network.vit, view) for view in (*batch.globals, *batch.locals)]
        self.images = [
            doubles([slow_head(network.images, grid.mean(axis=(1, 2)).tolist()) for grid in v])
            for v in views
        ]
        self.patches = [
            doubles(
                [
                    [slow_head(network.patches, slow_sampled(grid, x, y)) for x, y in points]
                    for grid, points in zip(view, own.tolist(), strict=True)
                ]
            )
            for view, own in zip(views[:2], batch.points, strict=True)
        ]


def slow_losses(state: DinoState, batch: ViewBatch, temperature: float) -> tuple[float, float]:
    teacher, student = Slow(state.teacher, batch), Slow(state.student, batch)

    def said(views: list[Tensor], centre: Tensor) -> list[Tensor]:
        return [
            torch.from_numpy(
                np.apply_along_axis(slow_targets, -1, view.numpy(), centre.tolist(), temperature)
            )
            for view in views[:2]
        ]

    return (
        slow_image_loss(said(teacher.images, state.image_centre), student.images),
        slow_patch_loss(
            said(teacher.patches, state.patch_centre), student.patches, batch.overlap.tolist()
        ),
    )


@pytest.fixture
def apart() -> ViewBatch:
    """A batch in which the views of the second image do not meet."""
    (batch,) = batches(RECIPE, 0, 1)
    return batch._replace(overlap=torch.tensor([1.0, 0.0, 1.0]))


class TestLossOfAStep:
    def test_equals_the_slow_one(self, apart: ViewBatch) -> None:
        state = begun()
        state.step = 1
        images, patches = slow_losses(state, apart, 0.225)
        row = train_step(state, apart, RECIPE)
        assert row.loss_images == pytest.approx(images, rel=1e-5)
        assert row.loss_patches == pytest.approx(patches, rel=1e-5)
        assert row.loss == pytest.approx(0.6 * images + 0.4 * patches, rel=1e-5)
        assert (row.step, state.step) == (1, 2)
        assert row.learning_rate == rates(RECIPE, 1).learning_rate

    @pytest.mark.parametrize("dense", [0.0, 0.4, 1.0])
    def test_information_is_of_what_is_trained(self, apart: ViewBatch, dense: float) -> None:
        plan = replace(RECIPE, dense_weight=dense)
        state = begun(plan)
        teacher = Slow(state.teacher, apart)
        views, centre = (
            (teacher.images, state.image_centre)
            if dense < 1
            else (met(teacher.patches, apart), state.patch_centre)
        )
        said = torch.cat(views[:2]).flatten(0, -2)
        target = doubles([slow_targets(row, centre.tolist(), 0.2) for row in said.tolist()])
        row = train_step(state, apart, plan)
        assert (row.entropy, row.information) == pytest.approx(information(target), rel=1e-4)

    def test_gradient_is_the_slow_slope(self, apart: ViewBatch) -> None:
        state = begun()
        moving = copy.deepcopy(state)
        train_step(state, apart, RECIPE)
        slopes = dict(state.student.named_parameters())
        for name, index in [
            ("vit.patch_embed.proj.weight", (1, 2, 0, 3)),
            ("images.layers.4.weight", (2, 1)),
            ("patches.layers.0.bias", (3,)),
            ("patches.prototypes", (1, 2)),
        ]:
            moving.student.double()
            parameter, losses = moving.student.get_parameter(name), []
            kept = parameter.detach()[index].item()
            for step in (-1e-5, 1e-5):
                with torch.no_grad():
                    parameter[index] = kept + step
                images, patches = slow_losses(moving, apart, 0.2)
                losses.append(0.6 * images + 0.4 * patches)
            with torch.no_grad():
                parameter[index] = kept
            slope = (losses[1] - losses[0]) / 2e-5
            assert slopes[name].grad[index].item() == pytest.approx(slope, rel=1e-2, abs=1e-5)

    def test_half_precision_is_close_and_keeps_float_weights(self, apart: ViewBatch) -> None:
        rows = []
        for precision in ("float32", "bfloat16"):
            state = begun()
            rows.append(train_step(state, apart, replace(RECIPE, precision=precision)))
            assert {value.dtype for value in weights(state).values()} == {torch.float32}
        assert rows[0].loss != rows[1].loss
        assert rows[0].loss == pytest.approx(rows[1].loss, rel=0.05)


class TestDescent:
    def test_is_a_first_step_of_adam_with_decay_of_matrices_alone(self, apart: ViewBatch) -> None:
        state = begun()
        before = weights(state)
        train_step(state, apart, RECIPE)
        rate, decay = rates(RECIPE, 0)[:2]
        for name, parameter in state.student.named_parameters():
            was, gradient = before[f"student.{name}"].double(), parameter.grad.double()
            shrunk = was * (1 - rate * decay) if parameter.ndim > 1 else was
            expected = shrunk - rate * gradient / (gradient.abs() + 1e-8)
            assert torch.allclose(parameter.double(), expected, atol=2e-6), name

    def test_every_parameter_is_trained_once(self) -> None:
        state = begin()
        matrices, vectors = (group["params"] for group in state.optimiser.param_groups)
        assert {id(p) for p in (*matrices, *vectors)} == {id(p) for p in state.student.parameters()}
        assert len(matrices) + len(vectors) == len(list(state.student.parameters()))
        assert {p.ndim for p in vectors} == {1}

    def test_decay_follows_its_schedule(self) -> None:
        state = begin()
        for batch in batches(RECIPE, 0, 3):
            matrices, vectors = state.optimiser.param_groups
            step = state.step
            train_step(state, batch, RECIPE)
            assert matrices["weight_decay"] == rates(RECIPE, step).weight_decay
            assert vectors["weight_decay"] == 0
            assert matrices["lr"] == vectors["lr"] == rates(RECIPE, step).learning_rate

    def test_clipping_bounds_the_gradient_and_reports_it_unclipped(self, apart: ViewBatch) -> None:
        state, clipped = begun(), begun()
        row = train_step(state, apart, RECIPE)
        norm = math.sqrt(
            sum(float((p.grad.double() ** 2).sum()) for p in state.student.parameters())
        )
        assert row.gradient == pytest.approx(norm, rel=1e-5)
        small = train_step(clipped, apart, replace(RECIPE, clip=norm / 10))
        assert small.gradient == row.gradient
        for p, q in zip(state.student.parameters(), clipped.student.parameters(), strict=True):
            assert torch.allclose(q.grad, p.grad / 10, rtol=1e-4, atol=1e-9)

    def test_frozen_prototypes_stand_still_and_then_move(self) -> None:
        plan = replace(RECIPE, frozen_steps=2)
        state = begin(plan)
        names = {f"student.{head}.prototypes" for head in ("images", "patches")}
        for step, batch in enumerate(batches(plan, 0, 3)):
            before = weights(state)
            train_step(state, batch, plan)
            changed = moved(before, weights(state))
            assert names & changed == (names if step == 2 else set())
            assert "student.images.layers.4.weight" in changed

    def test_without_a_dense_term_the_head_of_patches_only_decays(self, apart: ViewBatch) -> None:
        plan = replace(RECIPE, dense_weight=0.0)
        state = begun(plan)
        train_step(state, apart, plan)
        assert not any(p.grad.any() for p in state.student.patches.parameters())
        assert state.student.images.prototypes.grad.any()


class TestTeacher:
    def test_begins_as_the_student(self) -> None:
        state = begin()
        for a, b in zip(state.student.parameters(), state.teacher.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a is not b

    def test_has_no_gradient(self, apart: ViewBatch) -> None:
        state = begun()
        assert not any(p.requires_grad for p in state.teacher.parameters())
        state.teacher.requires_grad_()
        train_step(state, apart, RECIPE)
        assert all(p.grad is None for p in state.teacher.parameters())

    def test_moves_towards_the_new_student(self, apart: ViewBatch) -> None:
        state = begun()
        state.step = 3
        before = weights(state)
        train_step(state, apart, RECIPE)
        momentum = 1 - 0.1 * 0.5 * (1 + math.cos(math.pi * 0.3))
        for name, parameter in state.teacher.named_parameters():
            old = before[f"teacher.{name}"].double()
            student = state.student.get_parameter(name).detach().double()
            expected = momentum * old + (1 - momentum) * student
            assert torch.allclose(parameter.double(), expected, atol=1e-6), name
        assert any(n.startswith("teacher.vit") for n in moved(before, weights(state)))

    def test_centres_move_by_a_tenth_towards_what_it_said(self, apart: ViewBatch) -> None:
        state = begun()
        said, before = Slow(state.teacher, apart), weights(state)
        train_step(state, apart, RECIPE)
        for centre, old, views in [
            (state.image_centre, before["image"], said.images[:2]),
            (state.patch_centre, before["patch"], met(said.patches, apart)),
        ]:
            mean = torch.cat(views).flatten(0, -2).mean(dim=0)
            assert torch.allclose(centre, (0.9 * old + 0.1 * mean).float(), atol=1e-6)


class TestNetwork:
    def test_tokens_lie_as_the_patches_do(self) -> None:
        network = begin().student
        views = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
        found = network.tokens(views)
        np.testing.assert_allclose(found.detach(), slow_tokens(network.vit, views), atol=1e-5)
        assert found.shape == (2, CHANNELS, 4, 4)

    def test_heads_answer_with_cosines(self) -> None:
        network = begun().student
        tokens = torch.randn((2, CHANNELS, 4, 4), generator=torch.Generator().manual_seed(0))
        points = torch.tensor([[[-1.0, -1.0], [0.3, 0.9]], [[1.0, 0.2], [0.0, 0.0]]])
        images, patches = network.of_images(tokens), network.of_patches(tokens, points)
        assert (images.shape, patches.shape) == ((2, PROTOTYPES), (2, 2, PROTOTYPES))
        assert max(images.abs().max(), patches.abs().max()) <= 1
        corner = slow_head(network.patches, tokens[0, :, 0, 0].tolist())
        assert patches[0, 0].tolist() == pytest.approx(corner, abs=1e-5)

    def test_start_is_seeded_and_leaves_the_global_state_alone(self) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = weights(begin())
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        assert same(first, weights(begin()))
        other = weights(begin(replace(RECIPE, seed=6)))
        assert "student.images.prototypes" in moved(first, other)

    def test_heads_of_images_and_patches_differ(self) -> None:
        student = begin().student
        assert not torch.equal(student.images.prototypes, student.patches.prototypes)


class TestBatches:
    def test_hold_the_views_of_every_image(self) -> None:
        (batch,) = batches(RECIPE, 0, 1)
        assert [tuple(view.shape) for view in batch.globals] == [(3, 3, 16, 16)] * 2
        assert [tuple(view.shape) for view in batch.locals] == [(3, 3, 8, 8)] * 2
        assert batch.points.shape == (2, 3, 7, 2)
        assert batch.points.dtype == batch.overlap.dtype == torch.float32

    def test_overlap_says_whose_views_meet(self) -> None:
        plan = replace(RECIPE, views=replace(VIEWS, global_scale=(0.06, 0.09)))
        images = read(np.arange(6).repeat(5))
        batch = sample_views(images, plan, np.random.default_rng(0))
        inside = (batch.points.abs() < 1).all(dim=-1).all(dim=-1).all(dim=0)
        assert torch.equal(batch.overlap, inside.float())
        assert set(batch.overlap.tolist()) == {0.0, 1.0}

    def test_show_the_same_places(self) -> None:
        """Points carry the colour of the place, in a picture of two ramps without jitter."""
        ramps = np.zeros((200, 200, 3), np.uint8)
        ramps[..., 0], ramps[..., 1] = np.arange(200), np.arange(200)[:, None]
        plan = replace(RECIPE, views=replace(VIEWS, colour=0.0, global_scale=(0.9, 0.9)))
        batch = sample_views([ramps] * 20, plan, np.random.default_rng(0))
        found = [
            torch.nn.functional.grid_sample(view, points[:, None], align_corners=False)[:, :2, 0]
            for view, points in zip(batch.globals, batch.points, strict=True)
        ]
        coloured = [
            (view[:, 0] - view[:, 1]).abs().amax(dim=(1, 2)) > 0.2 for view in batch.globals
        ]
        bright = [view.amax(dim=(1, 2, 3)) > 0.6 for view in batch.globals]
        usable = coloured[0] & coloured[1] & bright[0] & bright[1]
        assert usable.sum() > 5
        clear = (batch.points.abs() < 0.7).all(dim=-1).all(dim=0) & usable[:, None]
        difference = (found[0] - found[1]).abs().amax(dim=1)[clear]
        assert len(difference) > 20
        assert difference.median() < 0.02

    def test_every_second_view_is_of_the_partner(self) -> None:
        dark, bright = (np.full((60, 80, 3), value, np.uint8) for value in (40, 200))
        plan = replace(RECIPE, views=replace(VIEWS, colour=0.0))
        batch = sample_views([dark] * 9, plan, np.random.default_rng(0), [bright] * 9)
        views = [*batch.globals, *batch.locals]
        dark_views = [(view < 0.3).flatten(1).all(dim=1) for view in views]
        assert [bool(dark.all()) for dark in dark_views[::2]] == [True] * len(views[::2])
        solarized_or_bright = [view.flatten(1).std(dim=1).max() < 0.2 for view in views[1::2]]
        assert all(solarized_or_bright)
        assert not any(bool(dark.all()) for dark in dark_views[1::2])

    def test_partners_are_read_for_the_rows_of_the_step(self) -> None:
        asked: list[list[int]] = []

        def reading(rows: NDArray[np.int64]) -> list[Pixels]:
            asked.append(rows.tolist())
            return read(rows)

        prepare_batch(reading, 6, RECIPE, lambda rows, _: 5 - rows, 3)
        partners, rows = asked
        assert partners == [5 - row for row in rows]

    def test_reach_moves_the_second_views_points(self) -> None:
        (near,), (far,) = (
            batches(replace(RECIPE, dense_reach=reach), 0, 1) for reach in (0.0, 0.3)
        )
        assert torch.equal(near.points[0], far.points[0])
        assert not (near.points[1] == far.points[1]).all(dim=-1).any()

    def test_depend_on_seed_and_step_alone(self) -> None:
        first, other = batches(RECIPE, 1, 3)
        (alone,) = batches(replace(RECIPE, steps=99, momentum=0.5), 2, 3)
        (seeded,) = batches(replace(RECIPE, seed=6), 2, 3)
        np.random.seed(0)
        assert torch.equal(other.globals[0], alone.globals[0])
        assert torch.equal(other.locals[-1], alone.locals[-1])
        assert torch.equal(other.points, alone.points)
        assert not torch.equal(other.points, first.points)
        assert not torch.equal(other.globals[0], first.globals[0])
        assert not torch.equal(other.points, seeded.points)

    def test_draw_every_image(self) -> None:
        asked: list[int] = []

        def counting(rows: NDArray[np.int64]) -> list[Pixels]:
            asked.extend(rows.tolist())
            assert len(rows) == RECIPE.batch
            return read(rows)

        for step in range(20):
            prepare_batch(counting, 6, RECIPE, None, step)
        assert set(asked) == set(range(6))


def trained(state: DinoState, recipe: DinoRecipe, steps: list[ViewBatch]) -> list[DinoCurve]:
    return [train_step(state, batch, recipe) for batch in steps]


class TestRepeatability:
    def test_resumed_equals_undisturbed(self) -> None:
        undisturbed, resumed = begin(), begin()
        rows = trained(undisturbed, RECIPE, batches(RECIPE, 0, 4))
        seen = trained(resumed, RECIPE, batches(RECIPE, 0, 2))
        fresh = copy.deepcopy(resumed)
        trained(resumed, RECIPE, batches(RECIPE, 4, 5))  # the copy knows nothing of this
        seen += trained(fresh, RECIPE, batches(RECIPE, 2, 4))
        assert same(weights(fresh), weights(undisturbed))
        assert seen == rows
        assert [row.step for row in rows] == [0, 1, 2, 3]

    def test_loading_what_was_saved_equals_undisturbed(self) -> None:
        undisturbed, stopped = begin(), begin()
        trained(undisturbed, RECIPE, batches(RECIPE, 0, 4))
        trained(stopped, RECIPE, batches(RECIPE, 0, 2))
        fresh = start(vit(seed=9), RECIPE, "cpu")
        fresh.student.load_state_dict(stopped.student.state_dict())
        fresh.teacher.load_state_dict(stopped.teacher.state_dict())
        fresh.optimiser.load_state_dict(copy.deepcopy(stopped.optimiser.state_dict()))
        fresh.image_centre, fresh.patch_centre = stopped.image_centre, stopped.patch_centre
        fresh.step = stopped.step
        trained(fresh, RECIPE, batches(RECIPE, 2, 4))
        assert same(weights(fresh), weights(undisturbed))

    def test_global_state_is_irrelevant(self) -> None:
        found = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)
            state = begin()
            trained(state, RECIPE, batches(RECIPE, 0, 2))
            found.append(weights(state))
        assert same(*found)


class TestLearning:
    """Towards a teacher that stands still: both runs below are told exactly the same."""

    plan = replace(
        RECIPE,
        steps=30,
        batch=4,
        momentum=1.0,
        temperature=Schedule(0.07, 0.07),
        weight_decay=Schedule(0, 0),
        learning_rate=3e-3,
        clip=3.0,
    )

    def run(self, plan: DinoRecipe) -> list[DinoCurve]:
        return trained(start(vit(), plan, "cpu"), plan, batches(plan, 0, 1) * plan.steps)

    @pytest.mark.parametrize("dense", [0.0, 0.5, 1.0])
    def test_lowers_the_loss(self, dense: float) -> None:
        plan = replace(self.plan, dense_weight=dense)
        learnt, idle = self.run(plan), self.run(replace(plan, learning_rate=0.0))
        assert [row.entropy for row in learnt] == [row.entropy for row in idle]
        assert learnt[-1].loss - learnt[-1].entropy < 0.7 * (idle[-1].loss - idle[-1].entropy)
