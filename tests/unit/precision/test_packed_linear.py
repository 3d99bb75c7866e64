"""A layer that holds only packed weights computes and learns as one that holds them unpacked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.unit.model.small import same_bytes
from trainer.precision.codecs import Codec, Nf3, Nf4, Seq2, Ternary, packed_bytes
from trainer.precision.gradients import OnDevice, OnHost
from trainer.precision.packed_linear import PackedLinear

CPU = torch.device("cpu")
SHAPE = torch.Size((96, 64))
CODECS: dict[str, Codec] = {
    codec.name: codec for codec in (Nf4(), Nf4(double=True), Nf3(), Seq2(), Ternary())
}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def _random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _layer(codec: Codec, gradient: OnDevice | OnHost | None) -> PackedLinear:
    layer = PackedLinear(codec, SHAPE, CPU, gradient)
    layer.pack(_random(*SHAPE, seed=3))
    return layer


def _plain(layer: PackedLinear, dtype: torch.dtype) -> nn.Linear:
    """An ordinary layer with the very weights that the packed ones stand for."""
    plain = nn.Linear(SHAPE[1], SHAPE[0], bias=False, dtype=dtype)
    plain.weight.data.copy_(layer.unpacked(dtype))
    return plain


@each_codec
def test_nothing_but_the_packed_bytes_is_held(codec: Codec) -> None:
    layer = _layer(codec, OnDevice(torch.bfloat16))
    layer(_random(5, 64).requires_grad_()).sum().backward()
    assert not list(layer.parameters())
    held = sum(part.untyped_storage().nbytes() for part in layer.state_dict().values())
    assert held == packed_bytes(codec, SHAPE)
    attributes = [each for each in vars(layer).values() if isinstance(each, Tensor)]
    assert sum(each.numel() for each in attributes) <= 1


@each_codec
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_are_an_ordinary_layers_bit_for_bit(
    codec: Codec, dtype: torch.dtype
) -> None:
    summed = OnDevice(dtype)
    layer = _layer(codec, summed)
    plain = _plain(layer, dtype)
    ours = _random(2, 7, 64, dtype=dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    gradient = _random(2, 7, 96, seed=2, dtype=dtype)
    found, expected = layer(ours), plain(theirs)
    found.backward(gradient)
    expected.backward(gradient)
    weight_gradient = summed.sum()
    assert weight_gradient is not None
    assert ours.grad is not None
    assert theirs.grad is not None
    assert plain.weight.grad is not None
    assert same_bytes(found, expected)
    assert same_bytes(ours.grad, theirs.grad)
    assert same_bytes(weight_gradient, plain.weight.grad)


def test_gradients_are_those_of_float64() -> None:
    summed = OnDevice(torch.float64)
    layer = _layer(Nf4(), summed)
    weight = layer.unpacked(torch.float32).double().requires_grad_()
    x = _random(6, 64, dtype=torch.float64).requires_grad_()
    found = torch.autograd.grad(layer(x).sin().sum(), x)[0]
    expected = torch.autograd.grad((x @ weight.T).sin().sum(), (x, weight))
    weight_gradient = summed.sum()
    assert weight_gradient is not None
    torch.testing.assert_close(found, expected[0])
    torch.testing.assert_close(weight_gradient, expected[1])


def test_micro_batches_add_up_on_the_device_in_bf16_or_on_the_host_in_float32() -> None:
    on_device, on_host = OnDevice(torch.bfloat16), OnHost(CPU)
    batches = [_random(5, 64, seed=seed, dtype=torch.bfloat16) for seed in (10, 11, 12)]
    for summed in (on_device, on_host):
        layer = _layer(Seq2(), summed)
        for batch in batches:
            layer(batch).square().sum().backward()
    rough, exact = on_device.sum(), on_host.sum()
    assert rough is not None
    assert exact is not None
    assert (rough.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    assert (rough.float() - exact).norm().item() < 0.01 * exact.norm().item()


def test_the_weights_learn_even_where_the_input_wants_no_gradient() -> None:
    summed = OnDevice(torch.float32)
    x = _random(5, 64)
    _layer(Nf4(), summed)(x).sum().backward()
    found = summed.sum()
    assert found is not None
    torch.testing.assert_close(found, torch.ones(96, 5) @ x)


def test_a_block_computed_twice_adds_its_gradient_once() -> None:
    once, twice = OnDevice(torch.float32), OnDevice(torch.float32)
    x = _random(5, 64)
    gradients = []
    for summed in (once, twice):
        layer = _layer(Nf3(), summed)
        leaf = x.clone().requires_grad_()
        y = layer(leaf) if summed is once else checkpoint(layer, leaf, use_reentrant=False)
        y.square().sum().backward()
        gradients.append((leaf.grad, summed.sum()))
    for left, right in zip(*gradients, strict=True):
        assert left is not None
        assert right is not None
        assert same_bytes(left, right)


def test_autocast_decides_what_is_computed_in() -> None:
    layer = _layer(Nf4(), OnDevice(torch.bfloat16))
    x = _random(5, 64).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert same_bytes(y, x.bfloat16() @ layer.unpacked(torch.bfloat16).T)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_frozen_weights_pass_the_gradient_on_and_want_none() -> None:
    layer = _layer(Nf4(double=True), None)
    assert not layer(_random(5, 64)).requires_grad
    x = _random(5, 64).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones(5, 96) @ layer.unpacked(torch.float32))


def test_a_shape_the_codec_cannot_take_is_refused_when_the_layer_is_made() -> None:
    with pytest.raises(ValueError, match=r"nf3 packs matrices in blocks of 64 numbers; \[5, 7\]"):
        PackedLinear(Nf3(), torch.Size((5, 7)), CPU, None)


def test_a_saved_layer_is_the_same_to_the_last_bit() -> None:
    first, second = _layer(Ternary(), None), PackedLinear(Ternary(), SHAPE, CPU, None)
    second.load_state_dict(first.state_dict())
    assert same_bytes(first.unpacked(torch.float32), second.unpacked(torch.float32))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at its own
def test_a_compiled_model_takes_the_layer_as_it_is() -> None:
    summed = OnDevice(torch.float32)
    layer = _layer(Nf4(), summed)

    def twice(x: Tensor) -> Tensor:
        y: Tensor = layer(x)
        return y * 2

    compiled = torch.compile(twice, backend="aot_eager")
    x = _random(5, 64)
    torch.testing.assert_close(compiled(x), twice(x))
    compiled(x).sum().backward()
    assert summed.sum() is not None
