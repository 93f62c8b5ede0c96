"""GPUs that can be planned with, as data: figures of their makers, and the share of the peak that runs reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

PEAK_FLOPS = {
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "B200": 2_250e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}
"""Device -> dense bf16 and fp16 FLOP/s (NVIDIA's data sheets and whitepapers)."""
_OTHER_CHIPS = (" Laptop GPU", " D")
"""Ends of names under which slower chips are sold."""


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 and fp16 FLOP/s of a device by the name that CUDA gives it, or None if it is not known."""
    if device_name.endswith(_OTHER_CHIPS):
        return None
    # The whole word: a GB200 is no B200. The longest, as an H100 PCIe is slower than an H100.
    fits = [device for device in PEAK_FLOPS if re.search(rf"\b{device}\b", device_name)]
    return PEAK_FLOPS[max(fits, key=len)] if fits else None


@dataclass(frozen=True)
class GPU:
    """One accelerator in the system that its maker builds around it.

    Attributes:
        memory_mib: what `nvidia-smi` reports in all.
        device: its name in `PEAK_FLOPS`.
        fp32_flops: FLOP/s in fp32 (no TF32).
        link_gb: GB/s in one direction to the GPUs of its node.
        network_gbit: Gbit/s of the network, for each GPU, of a node of 8.
        efficiency: share of `flops` that kernels reach while they compute, the rest being memory-bound work, launches
            and rounding to tiles; what a pipeline and links cost is counted apart.
        efficiency_source: where `efficiency` comes from.
        source: where everything else comes from.
    """

    memory_mib: int
    device: str
    fp32_flops: float
    link_gb: float
    network_gbit: float
    efficiency: float
    efficiency_source: str
    source: str

    @property
    def flops(self) -> float:
        """Dense bf16 and fp16 FLOP/s."""
        return PEAK_FLOPS[self.device]


_A100 = "median of the A100 rows of docs/plan.md"
_H100 = "median of the H100 rows of docs/plan.md"
_LIKE_H100 = "not measured: as H100"
_LIKE_A100 = "not measured: as A100"

GPUS: dict[str, GPU] = {
    "a100-40gb": GPU(
        40_960, "A100", 19.5e12, 300, 200, 0.55, _A100, "NVIDIA A100 data sheet, SXM; DGX A100: 8 x 200 Gbit/s"
    ),
    "a100-80gb": GPU(
        81_920, "A100", 19.5e12, 300, 200, 0.55, _A100, "NVIDIA A100 data sheet, SXM; DGX A100: 8 x 200 Gbit/s"
    ),
    "h100-80gb": GPU(
        81_559, "H100", 67e12, 450, 400, 0.43, _H100, "NVIDIA H100 data sheet, SXM; DGX H100: 8 x 400 Gbit/s"
    ),
    "h200-141gb": GPU(
        143_771, "H200", 67e12, 450, 400, 0.43, _LIKE_H100, "NVIDIA H200 data sheet, SXM; DGX H200: 8 x 400 Gbit/s"
    ),
    "b200-180gb": GPU(
        183_359, "B200", 75e12, 900, 400, 0.43, _LIKE_H100, "NVIDIA HGX B200 data sheet; DGX B200: 8 x 400 Gbit/s"
    ),
    "l40s-48gb": GPU(
        46_068, "L40S", 91.6e12, 32, 100, 0.55, _LIKE_A100, "NVIDIA L40S data sheet; PCIe 4.0 x16; network: ours"
    ),
    "rtx4090-24gb": GPU(
        24_564, "RTX 4090", 82.6e12, 32, 25, 0.55, _LIKE_A100, "NVIDIA Ada whitepaper; PCIe 4.0 x16; network: ours"
    ),
}
"""Name -> GPU. Efficiencies hold for bf16 and fp16, and are used for fp32 too."""
