"""The devices that a run has."""

import importlib.util
import logging
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch.distributed.fsdp import MixedPrecisionPolicy

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.run_folder import RunFolder
from saltlm.errors import ConfigError
from saltlm.models.cost import arithmetic
from saltlm.models.skeleton import hide_bars


def start_accelerator(config: AdaptConfig, folder: RunFolder) -> Accelerator:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started, if any.

    Raises:
        ConfigError: a tracker is not installed, or the devices do not have the dtype.
    """
    for tracker in config.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ConfigError(f"the tracker {tracker} is not installed", f"pip install {tracker}")
    # Without an accelerator, accelerate takes processes for copies unless it is told of the CPU.
    has = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    kind = next((name for name, backend in has.items() if backend.is_available()), "cpu")
    uses_bfloat16 = arithmetic(config.dtype, kind) == torch.bfloat16
    try:
        accelerator = Accelerator(
            cpu=kind == "cpu",
            mixed_precision="bf16" if uses_bfloat16 else "no",
            log_with=list(config.trackers) or None,
            project_dir=folder.path,
            kwargs_handlers=[
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),
                # The others wait while one packs text.
                InitProcessGroupKwargs(timeout=timedelta(days=1)),
            ],
        )
    except ValueError as error:
        raise ConfigError(
            f"dtype={config.dtype} cannot be had here: {error}",
            "choose another --set dtype=; in Python, start a new process for another dtype",
        ) from error
    shards = getattr(accelerator.state, "fsdp_plugin", None)
    if shards is not None and uses_bfloat16:
        # accelerate's own would round the loss to bfloat16, and sum gradients in it.
        shards.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    hide_bars()
    if not accelerator.is_main_process:  # one of them speaks for all
        logging.getLogger("saltlm").setLevel(logging.ERROR)
    return accelerator
