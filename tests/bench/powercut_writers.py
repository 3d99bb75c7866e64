"""The writers whose power is cut: ours and four others, each saving as people use it.

Every writer saves a state of one model tensor and one optimizer tensor whose values follow from
the step alone, so that whoever reads it back can tell a right one from a wrong one. ``write``
waits for a word before each step and says when its save had returned; ``resume`` does what the
tool does by itself after a restart; ``by_hand`` tries one checkpoint after the other, newest
first, as a person would when the tool is stuck.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from tests.unit.checkpoint.rig import StillClock
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import load_newest
from trainer.checkpoint.retention import Policy, retain
from trainer.checkpoint.writer import save

#: numbers in each of the two tensors: 4 MiB
NUMBERS = 1 << 20
MOMENTUM = 0.5
KEPT = 2

#: waits before a step; is told after the save of a step
Wait = Callable[[], None]
Saved = Callable[[int], None]


class NothingThere(Exception):
    """There is no checkpoint that the tool would resume from."""


class WrongState(Exception):
    """What was loaded is not what was saved at that step."""


class Writer(ABC):
    """One way to save and to resume."""

    name: str
    how: str

    @abstractmethod
    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        """Save step after step, until somebody ends this process."""

    @abstractmethod
    def resume(self, root: Path) -> int:
        """The step that a restart goes on from; any exception when it does not."""

    @abstractmethod
    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        """One attempt to load for each checkpoint on the disk, newest first."""


def steps(wait: Wait) -> Iterator[int]:
    """1, 2, 3... as fast as they are asked for."""
    step = 0
    while True:
        wait()
        step += 1
        yield step


def state_at(step: int) -> dict[str, dict[str, Tensor]]:
    """What a plain writer saves."""
    return {
        "model": {"weight": torch.full((NUMBERS,), float(step))},
        "optimizer": {"momentum": torch.full((NUMBERS,), step + 0.5)},
    }


def checked(state: dict[str, Any], step: int) -> int:
    """The step, if all of the state is that step's; raises WrongState."""
    for file, tensors in state_at(step).items():
        for name, tensor in tensors.items():
            if not torch.equal(state[file][name], tensor):
                raise WrongState(f"{file} is not that of step {step}")
    return step


class Ours(Writer):
    name = "homerun"
    how = "trainer.checkpoint: save, then retention keeps 2"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        run_dir = root / "run"
        run_dir.mkdir()
        with Lease.take(run_dir, 1) as lease:
            for step in steps(wait):
                save(
                    run_dir,
                    state_at(step),
                    {},
                    run="bench",
                    step=step,
                    reason="schedule",
                    lease=lease,
                    spec_digest="cafe",
                    parent=None,
                    clock=StillClock(),
                )
                retain(run_dir, Policy(KEPT, 0, 0))
                saved(step)

    def resume(self, root: Path) -> int:
        loaded = load_newest(root / "run", lambda verdict: None)
        if loaded is None:
            raise NothingThere
        return checked(loaded.files, loaded.entry.step)

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        yield lambda: self.resume(root)


class Dcp(Writer):
    name = "torch.distributed.checkpoint"
    how = (
        "dcp.save into a new directory, the one before the last removed; "
        "resumes from the highest step that has a .metadata file"
    )

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        # it says that there is one process only: that is what we asked for
        warnings.simplefilter("ignore")
        for step in steps(wait):
            dcp.save(state_at(step), checkpoint_id=root / f"step-{step}", no_dist=True)
            shutil.rmtree(root / f"step-{step - KEPT}", ignore_errors=True)
            saved(step)

    def resume(self, root: Path) -> int:
        complete = [path for path in _by_step(root, "step-*") if (path / ".metadata").is_file()]
        if not complete:
            raise NothingThere
        return self._load(complete[0])

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in _by_step(root, "step-*"):
            yield lambda path=path: self._load(path)  # type: ignore[misc] # bound at once

    @staticmethod
    def _load(path: Path) -> int:
        state = state_at(0)
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=path, no_dist=True)
        return checked(state, _step_of(path))


class OneFile(Writer):
    name = "torch.save, one file"
    how = "torch.save over the same name, as nanoGPT does"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        for step in steps(wait):
            torch.save({"step": step, **state_at(step)}, root / "ckpt.pt")
            saved(step)

    def resume(self, root: Path) -> int:
        return _load_file(root / "ckpt.pt")

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        yield lambda: self.resume(root)


class NewFiles(Writer):
    name = "torch.save, new names"
    how = "torch.save under a new name, the one before the last removed; resumes from the highest"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        for step in steps(wait):
            torch.save({"step": step, **state_at(step)}, root / f"model-{step}.pt")
            (root / f"model-{step - KEPT}.pt").unlink(missing_ok=True)
            saved(step)

    def resume(self, root: Path) -> int:
        found = _by_step(root, "model-*.pt")
        if not found:
            raise NothingThere
        return _load_file(found[0])

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in _by_step(root, "model-*.pt"):
            yield lambda path=path: _load_file(path)  # type: ignore[misc] # bound at once


def _load_file(path: Path) -> int:
    if not path.exists():
        raise NothingThere
    state = torch.load(path, weights_only=True)  # noqa: TID251 - the rival's own way
    return checked(state, state["step"])


def _step_of(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1].rsplit("=", 1)[-1])


def _by_step(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern), key=_step_of, reverse=True)


# --- tools with a training loop of their own -------------------------------------------------


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
        for path in _by_step(root, "checkpoint-*"):
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
