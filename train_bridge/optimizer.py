"""AdamW that leaves out a step when the loss or the gradient jumps.

Source: AdamW, Loshchilov and Hutter 2019; the skip rule and its numbers are OLMo-core's SkipStepAdamW.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dolma_py.config import Config, OptionError
from train_bridge.distributed import local_part


class OptimizerConfig(Config):
    """Settings of AdamW and of step skipping."""

    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the gradient's mean (Olmo 3).")
    beta2: float = Field(0.95, ge=0, lt=1, description="Decay of the squared gradient's mean (Olmo 3).")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment (Olmo 3).")
    weight_decay: float = Field(
        0.1, ge=0, description="Share of lr by which weights shrink per step; not the input embedding."
    )
    embedding_lr_factor: float = Field(
        1.0,
        gt=0,
        description="Rate of the input embedding over that of the rest. Embeddings start at 0.02 beside branches of size 1 and "
        "a rare token's row sees few updates, so short runs gain from more than 1 (Olmo 3: 1).",
    )
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Gradients are scaled down to this global norm (Olmo 3); null: never (its DPO)."
    )
    skip_sigma: float | None = Field(
        6.0, gt=0, description="Skip above mean + this many deviations; null: never (OLMo-core)."
    )
    skip_window_steps: int = Field(128, ge=2, description="Steps remembered for the skip rule (OLMo-core).")
    skip_min_steps: int = Field(64, ge=2, description="No skipping before this many are remembered (OLMo-core).")

    @model_validator(mode="after")
    def _check_skip_rule(self) -> OptimizerConfig:
        if self.skip_min_steps > self.skip_window_steps:
            rule = f"expected at most skip_window_steps, {self.skip_window_steps}: no more are ever remembered"
            raise OptionError("skip_min_steps", self.skip_min_steps, rule)
        return self


def is_spike(history: Tensor, value: Tensor, *, sigma: float, min_steps: int) -> Tensor:
    """0-dim bool: value - mean(history) > sigma * sample deviation(history); never below `min_steps` remembered values.

    Examples
    --------
    >>> bool(is_spike(torch.tensor([1.0, 3.0]), torch.tensor(11.0), sigma=6, min_steps=2))  # 2 + 6 * 1.414 = 10.49
    True
    """
    if len(history) < min_steps:
        return torch.zeros((), dtype=torch.bool, device=value.device)
    deviation, mean = torch.std_mean(history)
    return value - mean > sigma * deviation


class SkipStepAdamW(torch.optim.Optimizer):
    """AdamW with bias correction and decoupled decay; `step` is told the step's global loss and gradient norm.

    A skipped step changes neither weights nor moments nor the counter. The decision stays a 0-or-1 tensor on the device,
    which the kernel reads, so a GPU is not made to wait for the host.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], config: OptimizerConfig) -> None:
        super().__init__(groups, {"lr": 0.0, "lr_factor": 1.0, "weight_decay": config.weight_decay})
        self.config = config
        first = self.param_groups[0]["params"][0]
        # everything a resumed run needs beyond the moments
        self.num_updates = torch.zeros((), dtype=torch.float32, device=first.device)
        self.num_skipped = torch.zeros((), dtype=torch.float32, device=first.device)
        self.loss_history = torch.zeros(0, dtype=torch.float32, device=first.device)
        self.norm_history = torch.zeros(0, dtype=torch.float32, device=first.device)

    @torch.no_grad()
    def step(self, *, loss: Tensor, grad_norm: Tensor) -> Tensor:  # type: ignore[override]
        """One update from the gradients in place; returns float32 0-dim: 1 when the step was taken, 0 when skipped."""
        taken = 1.0 - self._should_skip(loss, grad_norm).to(torch.float32)
        self.num_updates += taken
        self.num_skipped += 1 - taken
        for group in self.param_groups:
            self._update_params(group, 1 - taken)
        return taken

    def _should_skip(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        config = self.config
        loss, grad_norm = loss.detach().float(), grad_norm.detach().float()
        skip = torch.zeros((), dtype=torch.bool, device=loss.device)
        if config.skip_sigma is not None:
            rule = {"sigma": config.skip_sigma, "min_steps": config.skip_min_steps}
            skip = is_spike(self.loss_history, loss, **rule) | is_spike(self.norm_history, grad_norm, **rule)
        self.loss_history = torch.cat((self.loss_history, loss[None]))[-config.skip_window_steps :]
        self.norm_history = torch.cat((self.norm_history, grad_norm[None]))[-config.skip_window_steps :]
        return skip

    def _update_params(self, group: dict[str, Any], skipped: Tensor) -> None:
        """torch's fused AdamW: one pass over weights, gradients and moments, no temporaries, nothing changed where skipped is 1."""
        whole = [param for param in group["params"] if param.grad is not None]
        if not whole:
            return
        for param in whole:
            if not self.state[param]:
                self.state[param] = {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
        # each rank on its own parts: the update knows no neighbours, whatever mesh a parameter lies on
        torch._fused_adamw_(
            [local_part(param) for param in whole],
            [local_part(param.grad) for param in whole],
            [local_part(self.state[param]["exp_avg"]) for param in whole],
            [local_part(self.state[param]["exp_avg_sq"]) for param in whole],
            [],
            [self.num_updates] * len(whole),
            lr=group["lr"] * group["lr_factor"],
            beta1=self.config.beta1,
            beta2=self.config.beta2,
            weight_decay=group["weight_decay"],
            eps=self.config.eps,
            amsgrad=False,
            maximize=False,
            found_inf=skipped,
        )

    def state_dict(self) -> dict[str, Any]:
        history = {
            "num_updates": self.num_updates,
            "num_skipped": self.num_skipped,
            "loss_history": self.loss_history,
            "norm_history": self.norm_history,
        }
        return {**super().state_dict(), "skip_step": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # torch keeps the very tensors it is given; a copy keeps two optimizers from sharing moments
        state_dict = copy.deepcopy(state_dict)
        device = self.num_updates.device
        for name, tensor in state_dict["skip_step"].items():
            setattr(self, name, tensor.to(device))
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "skip_step"})


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> SkipStepAdamW:
    """Two groups: the input embedding without decay, everything else (norms and the output matrix too) with it."""
    embedding = [param for name, param in model.named_parameters() if name.startswith("embeddings.")]
    others = [param for name, param in model.named_parameters() if not name.startswith("embeddings.")]
    groups = [{"params": others}, {"params": embedding, "weight_decay": 0.0, "lr_factor": config.embedding_lr_factor}]
    return SkipStepAdamW(groups, config)
