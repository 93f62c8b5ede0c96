"""What a checkpoint is, whether it is whole, and what else it can be made into."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error

EXAMPLES = """examples:
  python launch/convert.py inspect runs/NAME/checkpoints/latest
      step, tokens, topology, model, files and sizes, lineage; reads the manifest only
  python launch/convert.py verify runs/NAME/checkpoints/step_00000100
      hashes every file; code 2 and one line that names the file if one is damaged
  python launch/convert.py convert runs/NAME/checkpoints/latest release/NAME
      release/NAME/latest with the weights only, in one file: a third of the size. For evaluation, fine-tuning and
      export; training cannot go on from it
  python launch/convert.py export runs/NAME/checkpoints/latest models/NAME
      transformers.AutoModelForCausalLM.from_pretrained("models/NAME") opens it. GPT-2 (pre-norm) is GPT2LMHeadModel
      there, GPT-1 (post-norm) OpenAIGPTLMHeadModel. A fine-tuned classifier of one or two texts becomes a
      ...ForSequenceClassification, with a tokenizer that puts the special tokens where they belong

A run goes on from its checkpoints under another ZeRO stage, number of ranks, pipeline or tensor parallelism without any
conversion. For the way in from Hugging Face see launch/hf.py.

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="convert.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "inspect": "say what a checkpoint is",
        "verify": "hash all its files",
        "convert": "write one with the weights only",
        "export": "write it as a Hugging Face model",
    }
    for name, text in helps.items():
        one = commands.add_parser(name, help=text)
        one.add_argument("checkpoint", metavar="CHECKPOINT", help="such as RUN/checkpoints/latest")
        if name in ("convert", "export"):
            one.add_argument("out", metavar="OUT", help="a new folder")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        if args.command == "export":
            from pipeline.finetune.export import export_any

            print(export_any(args.checkpoint, args.out))
            return
        from pipeline.checkpoint import convert

        if args.command == "inspect":
            print(convert.describe(args.checkpoint))
        elif args.command == "verify":
            folder, manifest = convert.verify(args.checkpoint)
            print(f"{folder}: whole; {len(manifest.files):,} files, {manifest.bytes:,} bytes, digest {manifest.digest}")
        else:
            print(convert.weights_only(args.checkpoint, args.out))


if __name__ == "__main__":
    main()
