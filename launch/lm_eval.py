"""The lm-evaluation-harness's own command with checkpoints of this project as the model `webtext`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error

HELP = """usage: lm_eval.py --model_args checkpoint=CHECKPOINT --tasks TASK... --include_path FOLDER [OPTION]...

All options are those of `lm_eval run`; --model is webtext unless another is given. CHECKPOINT is a folder such as
RUN/checkpoints/latest, or one of a Hugging Face model (GPT-2, OpenAI GPT).

  python launch/lm_eval.py --model_args checkpoint=RUN/checkpoints/latest --tasks TASK --include_path FOLDER
  deepspeed --num_accelerators 2 launch/lm_eval.py --model_args checkpoint=FOLDER,batch_tokens=16384 --tasks TASK

Nothing is downloaded: a task's data must be here. HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 lets the harness fetch it.
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if not word.startswith("--local_rank")]
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    with exit_on_user_error(speak=os.environ.get("RANK", "0") == "0"):
        from pipeline.evaluate import harness_model

        if words[0] not in ("run", "ls", "validate"):
            words = ["run", *words]
        if words[0] == "run" and not {"--model", "-M"} & set(words):
            words[1:1] = ["--model", harness_model.NAME]
        sys.argv = ["lm_eval", *words]
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()


if __name__ == "__main__":
    main()
