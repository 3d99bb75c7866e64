"""Tools with a training loop of their own, which save and resume a run by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.bench.powercut_writers import (
    KEPT,
    MOMENTUM,
    NUMBERS,
    Dcp,
    NewFiles,
    NothingThere,
    OneFile,
    Ours,
    Saved,
    Wait,
    Writer,
    WrongState,
    by_step,
)


class OneWeight(nn.Module):
    """Its gradient is -1 everywhere, so its value follows from the step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(NUMBERS))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": -self.weight.sum() + 0.0 * x.sum()}


def sgd(module: nn.Module) -> torch.optim.SGD:
    """The optimizer of both: momentum is its state."""
    return torch.optim.SGD(module.parameters(), lr=1.0, momentum=MOMENTUM)


def expected(step: int) -> tuple[float, float]:
    """Weight and momentum after so many steps."""
    weight, momentum = 0.0, 0.0
    for number in range(step):
        momentum = -1.0 if number == 0 else MOMENTUM * momentum - 1.0
        weight -= momentum
    return weight, momentum


def checked_training(module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> int:
    """The step, if weights and momentum are that step's; raises WrongState."""
    (parameter,) = module.parameters()
    found = (parameter.detach(), optimizer.state[parameter]["momentum_buffer"])
    for tensor, value in zip(found, expected(step), strict=True):
        if not torch.equal(tensor, torch.full((NUMBERS,), value)):
            raise WrongState(f"the state is not that of step {step}")
    return step


class _Enough(Exception):
    """The resumed step is known."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(step)


def _first_step(run: Callable[[], object]) -> int:
    try:
        run()
    except _Enough as enough:
        return enough.step
    raise NothingThere("no step was trained")


class HfTrainer(Writer):
    name = "Hugging Face Trainer"
    how = "save_total_limit=2; resume_from_checkpoint=True"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        from transformers import TrainerCallback

        class Pace(TrainerCallback):  # type: ignore[misc] # transformers has no types
            def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                wait()

            def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                saved(state.global_step)

        # the rotation of old checkpoints comes before on_save: all of the save is done by then
        self._trainer(root, Pace()).train()

    def resume(self, root: Path) -> int:
        return self._resume(root, True)

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in by_step(root, "checkpoint-*"):
            yield lambda path=path: self._resume(root, str(path))  # type: ignore[misc] # bound now

    def _resume(self, root: Path, checkpoint: bool | str) -> int:
        from transformers import TrainerCallback

        class Look(TrainerCallback):  # type: ignore[misc] # transformers has no types
            def on_step_begin(
                self, args: Any, state: Any, control: Any, model: Any, optimizer: Any, **rest: Any
            ) -> None:
                raise _Enough(checked_training(model, _bare(optimizer), state.global_step))

        if not any(root.glob("checkpoint-*")):
            raise NothingThere
        trainer = self._trainer(root, Look())
        return _first_step(lambda: trainer.train(resume_from_checkpoint=checkpoint))

    @staticmethod
    def _trainer(root: Path, callback: Any) -> Any:
        import transformers

        transformers.utils.logging.set_verbosity_error()
        arguments = transformers.TrainingArguments(
            output_dir=str(root),
            max_steps=1000,
            save_steps=1,
            save_total_limit=KEPT,
            max_grad_norm=0.0,
            per_device_train_batch_size=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_strategy="no",
        )
        model = OneWeight()
        optimizer = sgd(model)
        constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"x": torch.zeros(1)}] * 1000,
            optimizers=(optimizer, constant),
            callbacks=[callback],
        )


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    bare: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return bare


class Lightning(Writer):
    name = "Lightning"
    how = "ModelCheckpoint(save_top_k=1, save_last=True); ckpt_path='last'"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        self._fit(root, None, wait=wait, saved=saved)

    def resume(self, root: Path) -> int:
        return self._resume(root, "last")

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in sorted(root.glob("*.ckpt"), reverse=True):
            yield lambda path=path: self._resume(root, str(path))  # type: ignore[misc] # bound now

    def _resume(self, root: Path, checkpoint: str) -> int:
        def look(module: Any) -> None:
            step = int(module.trainer.global_step)
            if step == 0:
                # it says so in a warning and begins from scratch
                raise NothingThere
            raise _Enough(checked_training(module, _bare(module.optimizers()), step))

        return _first_step(lambda: self._fit(root, checkpoint, look=look))

    @staticmethod
    def _fit(
        root: Path,
        checkpoint: str | None,
        *,
        wait: Wait = lambda: None,
        saved: Saved = lambda step: None,
        look: Callable[[Any], None] = lambda module: None,
    ) -> None:
        import pytorch_lightning as lightning
        from pytorch_lightning.callbacks import ModelCheckpoint

        class Module(lightning.LightningModule):  # type: ignore[misc] # no types
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.zeros(NUMBERS))

            def configure_optimizers(self) -> torch.optim.SGD:
                return sgd(self)

            def training_step(self, batch: Tensor, number: int) -> Tensor:
                return -self.weight.sum() + 0.0 * batch.sum()

            def on_train_batch_start(self, batch: Tensor, number: int) -> None:
                look(self)
                wait()

            def on_train_batch_end(self, outputs: Any, batch: Tensor, number: int) -> None:
                # after that of the callbacks, so the checkpoint has been saved
                saved(int(self.trainer.global_step))

        keeper = ModelCheckpoint(dirpath=root, every_n_train_steps=1, save_top_k=1, save_last=True)
        trainer = lightning.Trainer(
            max_steps=1000,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[keeper],
        )
        batches = torch.utils.data.DataLoader(torch.zeros(1000, 1), batch_size=1)
        trainer.fit(Module(), batches, ckpt_path=checkpoint)


def available() -> list[Writer]:
    """All that are installed here, ours first."""
    found: list[Writer] = [Ours(), Dcp()]
    with contextlib.suppress(ImportError):
        import transformers  # noqa: F401

        found.append(HfTrainer())
    with contextlib.suppress(ImportError):
        import pytorch_lightning  # noqa: F401

        found.append(Lightning())
    return [*found, OneFile(), NewFiles()]
