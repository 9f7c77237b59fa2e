"""Model FLOPs utilization: the share of a device's peak that the model's own operations reach.

Operations are those of train_bridge.cost.flops_per_token, where each layer counts no more keys than its window holds. Counting all
layers as full gives a larger figure for the same speed (Olmo 3 7B at 8,192 tokens: 54.2 in place of 49.4 GFLOP per token), so the
log's key names the count: mfu_window_aware.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import torch

from train_bridge import cost


class DevicePeak(NamedTuple):
    """What one device could do."""

    flops_per_sec: float
    source: Literal[
        "given", "known", "measured"
    ]  # setting; table of dense bfloat16 rates; plain products on this machine


def find_peak(device: torch.device, *, given: float | None) -> DevicePeak:
    """The setting, else the device's known peak, else the best of some measurements (half a second, once per process)."""
    if given is not None:
        return DevicePeak(given, "given")
    return _find_peak(device.type)


@functools.cache
def _find_peak(device_type: str) -> DevicePeak:
    device = torch.device(device_type)
    rate = cost.device_flops_per_sec(device)
    name = torch.cuda.get_device_name(device) if device_type == "cuda" else ""
    return DevicePeak(rate, "known" if any(known in name for known in cost.KNOWN_FLOPS_PER_SEC) else "measured")


def utilization(
    num_tokens_per_sec: float, *, flops_per_token: int, peak_flops_per_sec: float, num_devices: int
) -> float:
    """Share of the peak, 0 to 1 where the peak is right.

    Examples
    --------
    >>> round(utilization(7700 * 512, flops_per_token=49_380_000_000, peak_flops_per_sec=989.5e12, num_devices=512), 3)
    0.384
    """
    return num_tokens_per_sec * flops_per_token / (peak_flops_per_sec * num_devices)
