"""Other layers in the place of the blocks' linear ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trainer.model import Linear, NanoChat


def replace_linears(model: NanoChat, make: Callable[[str, Linear], nn.Module]) -> None:
    """Put ``make(name, layer)`` where each linear layer of the blocks stands.

    ``name`` is that of the layer's weight in the model's ``named_parameters``. Embedding and
    head stay as they are.
    """
    for path, module in list(model.named_modules()):
        if path.startswith("transformer.h.") and isinstance(module, Linear):
            parent, _, attribute = path.rpartition(".")
            setattr(model.get_submodule(parent), attribute, make(f"{path}.weight", module))


def is_mlp(name: str) -> bool:
    """Whether a weight of the blocks belongs to the MLP rather than to attention."""
    return ".mlp." in name
