"""Losses of preference pairs: DPO and its length-normalised form, SimPO, WPO. Pure functions of log-probs.

With s(y) the sum of ln p over the labels of a response y, n(y) their number, pi the policy, ref the reference, c chosen, r rejected:
  dpo_norm   x = beta * ((s_pi(c)/n(c) - s_pi(r)/n(r)) - (s_ref(c)/n(c) - s_ref(r)/n(r)))     Olmo 3 report, section 4.3: beta 5
  dpo        the same of sums, without n                                                      Rafailov et al. 2023 (arXiv 2305.18290)
  simpo      x = beta * (s_pi(c)/n(c) - s_pi(r)/n(r)) - gamma, no reference                   Meng et al. 2024 (arXiv 2405.14734)
  wpo        dpo's, times min(1, exp(s_pi(c)/n(c) + s_pi(r)/n(r))) without gradient    Zhou et al. 2024 (arXiv 2406.11827), open-instruct's form
  loss = -(1 - e) ln sigmoid(x) - e ln sigmoid(-x), e = label_smoothing
Legend: P pairs, 2 chosen and rejected, in this order.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from dolma_py.config import Config


class PreferenceConfig(Config):
    """What is learned from a pair."""

    loss: Literal["dpo_norm", "dpo", "simpo", "wpo"] = Field(
        "dpo_norm",
        description="dpo_norm: means over a response's labels (Olmo 3); dpo: sums; simpo: means, without a reference; wpo: dpo weighted.",
    )
    beta: float = Field(
        5.0, gt=0, description="Scale of the margin (Olmo 3, dpo_norm: 5; of sums, dpo and wpo, 0.1 is usual)."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs that are supposed to be the wrong way round (Olmo 3: 0)."
    )
    gamma_beta_ratio: float = Field(
        0.3, ge=0, description="simpo: the margin that is asked for, over beta (open-instruct: 0.3)."
    )
    turns: Literal["all_assistant", "last"] = Field(
        "all_assistant",
        description="Labels: those of every assistant turn of both conversations (Olmo 3's release), or of the last one alone.",
    )
    max_tokens: int = Field(
        ge=2, description="Tokens of one conversation; a longer one keeps its beginning, and is counted."
    )

    @property
    def needs_reference(self) -> bool:
        return self.loss != "simpo"


class PreferenceLosses(NamedTuple):
    """Of each pair; the loss alone carries a gradient."""

    loss_P: Tensor
    rewards_P2: Tensor  # beta * (policy - reference), of means or sums as the loss has them; simpo: beta * policy
    log_probs_P2: Tensor  # of the policy, means or sums as the loss has them


def preference_losses(
    policy_P2: Tensor, reference_P2: Tensor | None, num_labels_P2: Tensor, *, config: PreferenceConfig
) -> PreferenceLosses:
    """Losses of pairs.

    Parameters
    ----------
    policy_P2 : float (P, 2)           sums of ln p over labels, with gradients
    reference_P2 : float (P, 2)        the same of the reference; None for simpo
    num_labels_P2 : int64 (P, 2)       1 or more

    Examples
    --------
    >>> sums = torch.tensor([[-4.0, -9.0]])
    >>> losses = preference_losses(sums, sums, torch.tensor([[2, 3]]), config=PreferenceConfig(max_tokens=8))
    >>> round(float(losses.loss_P), 6)  # ln 2: the policy is its reference
    0.693147
    """
    means_P2 = policy_P2 / num_labels_P2
    log_probs_P2 = policy_P2 if config.loss in ("dpo", "wpo") else means_P2
    rewards_P2 = config.beta * log_probs_P2
    if config.needs_reference:
        assert reference_P2 is not None, "only simpo goes without a reference"
        known_P2 = reference_P2 if config.loss in ("dpo", "wpo") else reference_P2 / num_labels_P2
        rewards_P2 = config.beta * (log_probs_P2 - known_P2)
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    if config.loss == "simpo":
        margin_P = margin_P - config.gamma_beta_ratio * config.beta
    smoothing = config.label_smoothing
    loss_P = -(1 - smoothing) * F.logsigmoid(margin_P)
    if smoothing:
        loss_P = loss_P - smoothing * F.logsigmoid(-margin_P)
    if config.loss == "wpo":
        loss_P = loss_P * means_P2.detach().sum(dim=1).exp().clamp(max=1.0)
    return PreferenceLosses(loss_P, rewards_P2.detach(), log_probs_P2.detach())


OBSERVED = (
    "rewards_chosen", "rewards_rejected", "reward_margin", "reward_accuracy", "log_probs_chosen", "log_probs_rejected",
)  # fmt: skip


def observe(losses: PreferenceLosses) -> Tensor:
    """Sums over pairs of what OBSERVED names, float (6,); accuracy counts pairs whose chosen reward is the larger one."""
    margin_P = losses.rewards_P2[:, 0] - losses.rewards_P2[:, 1]
    columns = (*losses.rewards_P2.unbind(dim=1), margin_P, margin_P > 0, *losses.log_probs_P2.unbind(dim=1))
    return torch.stack([column.to(losses.loss_P.dtype).sum() for column in columns])


def sum_responses(log_probs_N: Tensor, responses_N: Tensor, *, num_responses: int) -> Tensor:
    """Sum of each response's tokens, float64 (num_responses,), in an order that no packing changes.

    responses_N : int64   number of each token's response; tokens without a label have 0 and may stand anywhere

    Examples
    --------
    >>> sum_responses(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1, 0, 1]), num_responses=2).tolist()
    [-2.0, -5.0]
    """
    numbers_S1 = torch.arange(num_responses, device=responses_N.device)[:, None]
    # no index_add: on GPUs it has no fixed order
    own_SN = torch.where(responses_N[None, :] == numbers_S1, log_probs_N[None, :], 0.0)
    return own_SN.sum(dim=1, dtype=torch.float64)
