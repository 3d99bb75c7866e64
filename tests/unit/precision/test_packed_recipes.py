"""nf4, w3 and w2.6: only packed weights are read, masters learn, nothing is lost in between.

What these recipes promise like every other, ``test_recipes`` holds them to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from tests.unit.model.small import lively, run_spec, same_bytes, tokens
from trainer import adamw
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.writer import save
from trainer.clock import SystemClock
from trainer.contract.messages import Notice
from trainer.contract.spec import ModelSpec, RunSpec, from_dict
from trainer.contract.toml import InvalidFileError
from trainer.model import NanoChat
from trainer.precision import build, keep
from trainer.precision.packed_linear import PackedLinear
from trainer.precision.quantized import Quantized
from trainer.sizing import memory
from trainer.sizing.storage import storage_of
from trainer.state import State

CPU = torch.device("cpu")
DEPTH_2 = ModelSpec(depth=2, vocab_size=512, sequence_length=32)
#: precision, mlp_codec
RECIPES = [("nf4", "seq2"), ("w3", "seq2"), ("w2.6", "seq2"), ("w2.6", "ternary")]
each_recipe = pytest.mark.parametrize(
    ("precision", "mlp_codec"), RECIPES, ids=["nf4", "w3", "w2.6", "w2.6-ternary"]
)


def _spec(precision: str, mlp_codec: str = "seq2", **more: str) -> RunSpec:
    """``more`` goes to the table that has a key of that name."""
    spec = run_spec(DEPTH_2, precision=precision)
    in_memory = {key: value for key, value in more.items() if hasattr(spec.memory, key)}
    in_train = {key: value for key, value in more.items() if key not in in_memory}
    return dataclasses.replace(
        spec,
        train=dataclasses.replace(spec.train, mlp_codec=mlp_codec, **in_train),
        memory=dataclasses.replace(spec.memory, **in_memory),
    )


def _train(state: State, steps: range) -> list[float]:
    """Steps on texts that hang on the step's number alone."""
    losses = []
    for step in steps:
        loss = state.model.loss(tokens(DEPTH_2, seed=step), tokens(DEPTH_2, seed=step + 99))
        torch.autograd.backward(loss)
        losses.append(loss.item())
        state.optimizer.step(step, 8)
        state.finished_step(loss.item(), 1.0)
    return losses


def _frozen(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {
        file: {name: each.clone() for name, each in tensors.items()}
        for file, tensors in files.items()
    }


def _packed_layers(model: NanoChat) -> dict[str, PackedLinear]:
    return {
        f"{name}.weight": layer
        for name, layer in model.named_modules()
        if isinstance(layer, PackedLinear)
    }


def _nearly(numbers: float, expected: float, layers: int) -> bool:
    """Equal but for a last byte that is not full, and for what a mean costs, in each layer."""
    return 0 <= numbers - expected <= layers * (4 + 4 + 1)


@each_recipe
def test_the_device_holds_what_the_plan_counts_and_no_matrix_of_a_block(
    precision: str, mlp_codec: str
) -> None:
    spec = _spec(precision, mlp_codec)
    state = State(spec, CPU)
    _train(state, range(1))
    planned = memory.held(spec.model, storage_of(spec), "weight")
    layers = _packed_layers(state.model)
    assert len(layers) == 6 * DEPTH_2.depth
    assert {name for name, _ in state.model.named_parameters()} == {
        "transformer.wte.weight",
        "lm_head.weight",
    }
    assert _nearly(state.live_bytes().weights, planned, len(layers))
    held = [each for each in state.model.buffers() if each.is_floating_point()]
    assert max(each.numel() for each in held) <= DEPTH_2.depth * 64 * 256 // 64 * 8


@each_recipe
def test_the_saved_model_is_as_small_as_the_plan_says(
    precision: str, mlp_codec: str, tmp_path: Path
) -> None:
    spec = _spec(precision, mlp_codec)
    state = State(spec, CPU)
    lease = Lease.take(tmp_path, 1)
    try:
        saved = save(
            tmp_path,
            state.files(),
            state.meta(),
            run="small",
            step=0,
            reason="final",
            lease=lease,
            spec_digest=spec.digest(),
            parent=None,
            clock=SystemClock(),
        )
    finally:
        lease.release()
    file = (saved.path / "model.safetensors").read_bytes()
    header_bytes = 8 + int.from_bytes(file[:8], "little")
    planned = memory.held(spec.model, storage_of(spec), "weight")
    assert _nearly(len(file) - header_bytes, planned, 6 * DEPTH_2.depth)


@each_recipe
def test_what_is_packed_is_the_master_before_and_after_every_step(
    precision: str, mlp_codec: str
) -> None:
    state = State(_spec(precision, mlp_codec), CPU)
    for steps in (range(0), range(1), range(1, 3)):
        _train(state, steps)
        layers = _packed_layers(state.model)
        for kept in state.keeping.trained:
            if isinstance(kept, Quantized):
                layer = layers[kept.name]
                for name, part in layer.codec.encode(kept.master()).items():
                    assert same_bytes(part, layer.get_buffer(name))


@each_recipe
def test_loss_and_gradients_are_those_of_a_model_with_the_unpacked_weights(
    precision: str, mlp_codec: str
) -> None:
    packed = keep(lively(DEPTH_2), _spec(precision, mlp_codec))
    plain = keep(lively(DEPTH_2), _spec("bf16-8bit"))
    for name, layer in _packed_layers(packed.model).items():
        plain.model.get_parameter(name).data.copy_(layer.unpacked(torch.bfloat16))
    ids, targets = tokens(DEPTH_2), tokens(DEPTH_2, seed=6)
    losses = [keeping.model.loss(ids, targets) for keeping in (packed, plain)]
    for loss in losses:
        torch.autograd.backward(loss)
    assert losses[0].item() == losses[1].item()
    for ours, theirs in zip(packed.trained, plain.trained, strict=True):
        found, expected = ours.gradient.sum(), theirs.gradient.sum()
        assert found is not None
        assert expected is not None
        assert ours.name == theirs.name
        assert same_bytes(found, expected), ours.name


@pytest.mark.parametrize(
    ("precision", "mlp_codec", "optimizer", "gradients"),
    [("w2.6", "ternary", "muon", "device"), ("nf4", "seq2", "adamw8", "host")],
)
def test_a_restored_training_goes_on_with_the_same_bytes(
    precision: str, mlp_codec: str, optimizer: str, gradients: str
) -> None:
    spec = _spec(precision, mlp_codec, optimizer=optimizer, gradients=gradients)
    straight = State(spec, CPU)
    _train(straight, range(3))

    first = State(spec, CPU)
    _train(first, range(2))
    files, meta = _frozen(first.files()), first.meta()
    second = State(spec, CPU)
    _train(second, range(1))  # its own history must leave no trace
    second.load(files, meta)
    for file, tensors in second.files().items():
        assert all(same_bytes(each, files[file][name]) for name, each in tensors.items())
    _train(second, range(2, 3))

    ends, expected = second.files(), straight.files()
    for file, tensors in expected.items():
        assert tensors.keys() == ends[file].keys()
        for name, each in tensors.items():
            assert same_bytes(each, ends[file][name]), name


@each_recipe
def test_a_matrix_updated_in_parts_is_packed_as_one_updated_whole(
    precision: str, mlp_codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec(precision, mlp_codec, optimizer="adamw8")
    whole, parts = State(spec, CPU), State(spec, CPU)
    _train(whole, range(2))
    monkeypatch.setattr(adamw, "_CHUNK_NUMBERS", 64 * 256)
    _train(parts, range(2))
    for file, tensors in whole.files().items():
        for name, each in tensors.items():
            assert same_bytes(each, parts.files()[file][name]), name


def test_masters_keep_what_the_packed_copy_cannot_show() -> None:
    state = State(_spec("nf4"), CPU)
    drawn = NanoChat(DEPTH_2)
    drawn.init_weights(state.keeping.setting.seed)
    for kept in state.keeping.trained:
        if isinstance(kept, Quantized):
            true = drawn.get_parameter(kept.name)
            # 24 bits: 16 of mantissa, rounded up or down
            torch.testing.assert_close(kept.master(), true.detach(), rtol=2**-15, atol=1e-37)


def test_masters_can_do_without_the_residual() -> None:
    state = State(_spec("nf4", residual="off"), CPU)
    assert not any("residual" in name for name in state.files()["optimizer"])
    losses = _train(state, range(3))
    assert losses[-1] < losses[0] + 1
    files, meta = _frozen(state.files()), state.meta()
    other = State(_spec("nf4", residual="off"), CPU)
    other.load(files, meta)
    assert _train(state, range(3, 5)) == _train(other, range(3, 5))


def test_odd_depths_whose_rows_fill_no_block_are_packed_all_the_same() -> None:
    """A ternary block of 128 numbers spans two rows of a model 64 channels wide."""
    model = ModelSpec(depth=1, vocab_size=512, sequence_length=16)
    spec = dataclasses.replace(_spec("w2.6", "ternary"), model=model)
    assert build(spec, CPU).model(tokens(model)).isfinite().all()


def test_the_checkpoint_of_one_mixture_is_refused_by_the_other() -> None:
    two_bits, ternary = State(_spec("w2.6"), CPU), State(_spec("w2.6", "ternary"), CPU)
    with pytest.raises(Exception, match=r"codes is torch.uint8 .* in the checkpoint"):
        ternary.load(_frozen(two_bits.files()), two_bits.meta())


def test_a_mixture_for_another_recipe_is_refused_with_the_fix() -> None:
    with pytest.raises(InvalidFileError, match=r'mlp_codec.*precision = "w2\.6" alone'):
        from_dict({"name": "x", "train": {"precision": "nf4", "mlp_codec": "ternary"}})
    with pytest.raises(InvalidFileError, match=r"mlp_codec.*did you mean .*ternary"):
        from_dict({"name": "x", "train": {"precision": "w2.6", "mlp_codec": "ternery"}})


def test_the_experimental_recipe_says_so_in_the_journal_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    corpus = support.write_corpus(tmp_path / "corpus")
    spec = support.tiny_spec(corpus, precision="w2.6", eval_every_steps=0)
    told = []
    for stop_at_poll in (12, -1):
        link = Puppeteer(stop_at_poll=stop_at_poll)
        job = support.job_for(spec, tmp_path / "tiny", tmp_path / "data")
        assert support.train(job, link) == 0
        told += [each for each in link.of(Notice) if each.kind == "recipe_warning"]
    assert len(told) == 1
    assert "experimental" in told[0].message
