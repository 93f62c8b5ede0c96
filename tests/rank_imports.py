"""What ranks import and find out, imported and found out once: the fork server of `harness` loads this module."""

import gc
import importlib

import deepspeed

# What DeepSpeed and torch import late, with torch's compiler among it: seconds a rank.
LATE = (
    "deepspeed.comm.mori",
    "deepspeed.module_inject.auto_ep_layer",
    "deepspeed.module_inject.auto_ep_presets.registry",
    "deepspeed.ops.triton_ops",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "pipeline.evaluate.run",
    "pipeline.finetune.run",
    "pipeline.pretrain",
    "pipeline.train.pipe_engine",
    "safetensors.torch",
    "torch._dynamo",
    "torch.profiler._cupti_monitor",
)
for name in LATE:
    importlib.import_module(name)
deepspeed.ops.__compatible_ops__  # noqa: B018  asks a compiler
gc.collect()
gc.freeze()  # DeepSpeed collects garbage as it starts, through all that was imported
