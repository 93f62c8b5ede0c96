"""What ranks import and find out, imported and found out once: the fork server of `harness` loads this module."""

import gc
import importlib

# Ours first, which imports DeepSpeed in its own way; then what DeepSpeed and torch import late: seconds a rank.
NAMES = (
    "pipeline.pretrain",
    "pipeline.evaluate.run",
    "pipeline.finetune.run",
    "pipeline.train.pipe_engine",
    "deepspeed.comm.mori",
    "deepspeed.module_inject.auto_ep_layer",
    "deepspeed.module_inject.auto_ep_presets.registry",
    "deepspeed.ops.triton_ops",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "safetensors.torch",
    "torch._dynamo",
    "torch.profiler._cupti_monitor",
)
for name in NAMES:
    importlib.import_module(name)
gc.collect()
gc.freeze()  # DeepSpeed collects garbage as it starts, through all that was imported
