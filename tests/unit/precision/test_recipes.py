"""What every recipe promises: it resumes to the byte, it learns, its gradients are right.

The recipes are those that are registered; a new one is held to all of this by being there.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.unit.precision import small
from tests.unit.precision.small import CPU, NAMES, STEPS, VARIANTS
from trainer import sizing
from trainer.contract.choices import PRECISIONS
from trainer.contract.spec import ModelSpec
from trainer.model import LOGIT_CAP, NanoChat, norm
from trainer.precision import RECIPES, recipe, settle
from trainer.state import State, StateError

LONG = pytest.mark.long
every_recipe = pytest.mark.parametrize("name", NAMES)
#: a recipe's second optimizer takes as long again, so most of them wait for the long tests
every_variant = pytest.mark.parametrize(
    ("name", "rule"),
    [
        pytest.param(name, rule, marks=() if rule == first or name == "bf16-8bit" else LONG)
        for name, rule in VARIANTS
        for first in RECIPES[name].optimizers[:1]
    ],
)


@every_variant
def test_stopped_and_resumed_it_ends_with_the_same_bytes(name: str, rule: str) -> None:
    """Before, at and in the warm-down; with a gradient half summed up when the power fails."""
    straight = small.state_of(name, rule)
    points = {}
    while straight.step < STEPS:
        points[straight.step] = small.saved(straight)
        small.train(straight, straight.step + 1)
    end = small.prints(straight.files())
    resumed = small.state_of(name, rule)
    for stop in (5, 4, 2):
        small.train(resumed, 1)  # a life of its own, of which nothing may be left
        files, meta = points[stop]
        resumed.load(files, meta)
        assert small.prints(resumed.files()) == small.prints(files)
        small.backward(resumed, 0)
        resumed.keeping.drop_gradients()
        small.train(resumed, STEPS)
        assert small.prints(resumed.files()) == end, stop


@every_variant
def test_it_learns(name: str, rule: str) -> None:
    state = small.state_of(name, rule)
    losses = small.train(state, STEPS)
    assert losses[0] == pytest.approx(torch.tensor(512.0).log().item(), rel=0.01)
    assert losses[-1] < losses[0] - 0.3


@every_recipe
def test_two_runs_are_the_same_and_another_seed_is_another_run(name: str) -> None:
    ends = []
    for seed in (7, 7, 8):
        state = small.state_of(name, seed=seed)
        small.train(state, 2)
        ends.append(small.prints(state.files()))
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


@every_variant
def test_parked_state_and_recomputed_activations_leave_the_bytes_alone(
    name: str, rule: str
) -> None:
    ends = []
    for place, again in (("device", "off"), ("host", "on")):
        state = small.state_of(name, rule, optimizer_state=place, activation_checkpointing=again)
        small.train(state, STEPS)
        ends.append(small.prints(state.files()))
        parked = {kept.parked for kept in state.optimizer.resting().values()}
        assert (place == "host") in parked
    assert ends[0] == ends[1]


@every_recipe
def test_blocks_are_really_computed_twice(name: str) -> None:
    passes = []
    for again in ("off", "on"):
        state = small.state_of(name, activation_checkpointing=again)
        seen: list[int] = []
        for block in state.model.transformer.blocks():
            block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        small.backward(state, 0)
        passes.append(len(seen))
    assert passes == [2, 4]


@every_recipe
def test_gradients_on_the_host_are_the_float32_sum(name: str) -> None:
    """The sum of what each micro-batch finds alone, added up in float64."""
    state = small.state_of(name, gradients="host", micro_batches=8)
    small.train(state, 3, 8)
    single = copy_of(state, gradients="device", micro_batches=8)
    exact: dict[str, Tensor] = {}
    for index in range(8):
        small.backward(single, index, 8)
        for kept in single.keeping.trained:
            summed = kept.gradient.sum()
            assert summed is not None
            exact[kept.name] = exact.get(kept.name, 0.0) + summed.double()
        single.keeping.drop_gradients()
        small.backward(state, index, 8)
    for kept in state.keeping.trained:
        summed = kept.gradient.sum()
        assert summed is not None
        assert summed.dtype == torch.float32
        scale = exact[kept.name].abs().max().clamp_min(1e-30)
        assert ((summed.double() - exact[kept.name]).abs().max() / scale).item() < 1e-5
    live = state.live_bytes()
    assert live.gradients_on_device == 0
    assert live.gradients_on_host == 4 * sum(kept.shape.numel() for kept in state.keeping.trained)


@every_recipe
def test_gradients_are_those_of_the_float64_model(name: str) -> None:
    """Of the weights as forward sees them; for a quantised weight, straight through."""
    state = small.state_of(name)
    small.train(state, 4)  # the head and the output matrices begin as zeros
    exact = float64_of(state)
    small.backward(state, 5, 1)
    ids, targets = small.batch(5)
    loss = torch.nn.functional.cross_entropy(
        exact_logits(exact, ids).flatten(0, 1), targets.flatten()
    )
    loss.backward()
    # one bf16 rounding is 0.004, one of int8 to a row's largest number about as much
    tolerance = {"fp32": 1e-5, "int8": 0.05}.get(name, 0.025)
    for kept in state.keeping.trained:
        expected = expected_gradient(state, exact, kept.name)
        if expected is None:
            continue
        summed = kept.gradient.sum()
        assert summed is not None
        error = (summed.double() - expected).norm() / expected.norm()
        assert error.item() < tolerance, kept.name


def expected_gradient(state: State, exact: NanoChat, name: str) -> Tensor | None:
    """None where what is trained has another shape than the weight, as adapters have."""
    trained = next(kept for kept in state.keeping.trained if kept.name == name)
    weight = exact.get_parameter(name)
    return weight.grad if weight.shape == trained.shape else None


def float64_of(state: State) -> NanoChat:
    """A plain model in float64 that holds the weights as forward reads them."""
    exact = NanoChat(small.MODEL)
    seen = dict(state.keeping.weights())
    with torch.no_grad():
        for name, parameter in exact.named_parameters():
            parameter.copy_(seen[name])
    exact.rope.fill()
    return exact.double()


def exact_logits(model: NanoChat, ids: Tensor) -> Tensor:
    """NanoChat's forward pass without the one cast to float32 that it has."""
    x = norm(model.transformer.wte(ids))
    cos, sin = model.rope(ids.size(1))
    for block in model.transformer.blocks():
        x = block(x, cos, sin)
    return LOGIT_CAP * torch.tanh(model.lm_head(norm(x)) / LOGIT_CAP)


@every_recipe
def test_a_checkpoint_of_another_recipe_is_refused_with_both_names(name: str) -> None:
    files, meta = small.saved(small.state_of(name))
    other = next(each for each in NAMES if each != name)
    with pytest.raises(StateError, match="the checkpoint was made by recipe") as caught:
        small.state_of(other).load(files, meta)
    assert repr(name) in str(caught.value)
    assert repr(other) in str(caught.value)


@every_variant
def test_a_gradient_that_is_not_finite_changes_nothing(name: str, rule: str) -> None:
    state = small.state_of(name, rule)
    small.train(state, 5)
    before = small.prints(state.files())
    small.backward(state, 0)
    summed = state.keeping.trained[0].gradient.sum()
    assert summed is not None
    summed.view(-1)[3] = float("inf")
    assert not torch.tensor(state.optimizer.step(state.step, STEPS)).isfinite()
    assert small.prints(state.files()) == before
    assert all(kept.gradient.sum() is None for kept in state.keeping.trained)


@every_variant
def test_a_damaged_state_is_refused_whole(name: str, rule: str) -> None:
    state = small.state_of(name, rule)
    small.train(state, STEPS)
    files, meta = small.saved(state)
    bad = copy.copy(files["optimizer"])
    lost = sorted(bad)[-1]
    del bad[lost]
    fresh = small.state_of(name, rule)
    with pytest.raises(StateError, match="is missing") as caught:
        fresh.load({**files, "optimizer": bad}, meta)
    assert lost in str(caught.value)


@every_recipe
def test_names_of_the_saved_tensors_do_not_clash(name: str) -> None:
    state = small.state_of(name)
    trained = [kept.name for kept in state.keeping.trained]
    assert len(set(trained)) == len(trained)
    live = state.live_bytes()
    files = state.files()
    assert live.weights == sum(tensor.nbytes for tensor in files["model"].values())
    optimizer = sum(tensor.nbytes for tensor in files["optimizer"].values())
    assert live.optimizer_on_device + live.optimizer_on_host == optimizer


@every_variant
def test_the_plan_knows_how_large_a_checkpoint_is(name: str, rule: str) -> None:
    """In the warm-down, when all of it is there."""
    state = small.state_of(name, rule, warmdown_ratio=1.0)
    small.train(state, 2)
    real = sum(tensor.nbytes for tensors in state.files().values() for tensor in tensors.values())
    planned = sizing.checkpoint_bytes(small.spec_of(name, rule))
    assert 0 <= planned - real < 100_000


@every_recipe
def test_a_d32_is_built_without_memory(name: str) -> None:
    spec = small.spec_of(name, model=ModelSpec(depth=32))
    with torch.device("meta"):
        model = NanoChat(spec.model)
    assert sum(each.numel() for each in model.parameters()) == 1_879_048_192
    chosen = recipe(name)
    keeping = chosen.prepare(model, settle(spec, chosen, torch.device("meta")))
    assert all(each.is_meta for each in keeping.model.state_dict().values())


def test_the_residual_is_saved_from_the_warm_down_on_or_always_or_never() -> None:
    kinds = {}
    for residual in ("warmdown", "always", "off"):
        state = small.state_of("bf16-8bit", residual=residual)
        seen = []
        for step in (0, 4, 5):  # the fifth step is the first whose learning rate is lower
            small.train(state, step)
            names = state.optimizer.state_tensors()
            seen.append(sum(name.startswith("residual.") for name in names))
        kinds[residual] = seen
    assert kinds == {"warmdown": [0, 0, 14], "always": [14] * 3, "off": [0] * 3}


def test_a_run_that_goes_back_before_the_warm_down_forgets_its_residual() -> None:
    """As after a divergence: the residual of the steps that are taken back must not return."""
    state = small.state_of("bf16-8bit")
    small.train(state, 2)
    files, meta = small.saved(state)
    small.train(state, STEPS)
    end = small.prints(state.files())
    state.load(files, meta)
    small.train(state, STEPS)
    assert small.prints(state.files()) == end


def test_too_many_micro_batches_for_a_bf16_sum_are_refused_with_the_fix() -> None:
    spec = small.spec_of("bf16-8bit", micro_batches=65, gradients="device")
    with pytest.raises(StateError, match=r'65 micro-batches.*gradients = "host"'):
        State(spec, CPU)
    assert not State(
        small.spec_of("bf16-8bit", micro_batches=64), CPU
    ).keeping.setting.host_gradients
    assert State(small.spec_of("bf16-8bit", micro_batches=65), CPU).keeping.setting.host_gradients
    assert not State(small.spec_of("fp32", micro_batches=65), CPU).keeping.setting.host_gradients


def test_an_optimizer_that_the_recipe_does_not_offer_is_refused() -> None:
    with pytest.raises(StateError, match=r"'fp32' cannot train with optimizer = 'adamw8'"):
        small.state_of("fp32", "adamw8")


def test_every_recipe_is_one_that_the_spec_can_name() -> None:
    assert set(RECIPES) <= set(PRECISIONS)
    assert all(each.name == name for name, each in RECIPES.items())


def copy_of(state: State, **changes: object) -> State:
    """A run with other switches that goes on from the same bytes."""
    twin = small.state_of(state.recipe.name, **changes)  # type: ignore[arg-type] # switches
    files, meta = small.saved(state)
    twin.load(files, meta)
    return twin
