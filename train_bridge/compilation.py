"""torch.compile with the settings that training needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

NUM_KINDS = 64  # of one function that are compiled


def compile_function(
    function: Callable[..., Any], *, activation_budget: float | None = None, dynamic: bool | None = None
) -> Callable[..., Any]:
    """`function`, compiled when first called, once for all objects that share its code.

    activation_budget: share of the memory that its results would take, which torch's partitioner may keep for the backward pass
    """
    # here, because torch._dynamo takes a second to import
    from torch._dynamo import config as dynamo_config
    from torch._functorch import config as functorch_config

    # gradients come in the order in memory that the outputs have, as from torch 2.12 on; 2.11 copies each that is in another
    functorch_config.guess_tangent_strides_as_outputs = True
    # kinds of masks, with and without gradients, lengths: attention alone has more than torch's 8, after which it would go on
    # uncompiled, with all scores in memory; beyond ours that is an error
    dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, NUM_KINDS)
    dynamo_config.fail_on_recompile_limit_hit = True
    compiled = torch.compile(function, dynamic=dynamic)
    if activation_budget is None:
        return compiled

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        # torch reads the budget while it compiles, which is when first called
        with functorch_config.patch(activation_memory_budget=activation_budget):
            return compiled(*args)

    return call
