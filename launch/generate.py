"""Text from a pretraining checkpoint, or from a folder of a Hugging Face model."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error
from launch import command

if TYPE_CHECKING:
    from pipeline.evaluate.decoding import Decoding
    from pipeline.evaluate.model import Scorer

EXAMPLES = """examples:
  python launch/generate.py RUN/checkpoints/latest "The river"
      one sample with GPT-2's settings (temperature 1, top-k 40), written as it appears
  python launch/generate.py models/gpt2 "The river" --temperature 0.7 --top-p 0.9 --samples 3 --seed 5
  python launch/generate.py RUN/checkpoints/latest --file prompts.txt --temperature 0 --json > texts.jsonl
      greedy, one prompt a line, one JSON row a text
  python launch/generate.py RUN/checkpoints/latest "english: the cat = french:" --beams 4 --stop '\\n'
      beam search as in GPT-3 (length penalty alpha 0.6)
  deepspeed --num_accelerators 2 launch/generate.py RUN/checkpoints/latest --file prompts.txt
      the same texts, dealt out to two ranks

The seed, the number of the prompt and that of the sample decide a text; batches and ranks do not.

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="generate.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("checkpoint", metavar="CHECKPOINT", help="folder such as RUN/checkpoints/latest")
    result.add_argument("prompts", metavar="PROMPT", nargs="*", help="default: standard input as one prompt")
    result.add_argument("--file", help='prompts, one a line, as text or as {"prompt": ...}')
    result.add_argument("--max-tokens", type=int, default=100, help="at most so many a text (default: %(default)s)")
    result.add_argument("--temperature", type=float, help="0 takes the likeliest token (default: 1; beams: 0)")
    result.add_argument("--top-k", type=int, help="sample among the k likeliest, 0 all (default: 40, as GPT-2)")
    result.add_argument("--top-p", type=float, default=1.0, help="sample among the fewest with this probability")
    result.add_argument("--beams", type=int, default=1, help="beam search with so many hypotheses")
    result.add_argument("--alpha", type=float, default=0.6, help="length penalty of beams (default: 0.6, as GPT-3)")
    result.add_argument("--length-norm", choices=("wu", "power"), default="wu",
                        help="((5 + n) / 6)^alpha (Wu et al. 2016), or n^alpha as in transformers")  # fmt: skip
    result.add_argument("--samples", type=int, default=1, help="texts of each prompt")
    result.add_argument("--seed", type=int, default=0, help="of sampling (default: %(default)s)")
    result.add_argument("--stop", action="append", default=[], help=r"string that ends a text, \n for a line's end")
    result.add_argument("--batch-tokens", type=int, default=8192, help="memory; it changes no text")
    result.add_argument("--json", action="store_true", help="one JSON row a text, with ids and log-probability")
    result.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_intermixed_args(arguments)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    with exit_on_user_error(speak=os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"):
        from pipeline.evaluate.decoding import Decoding
        from pipeline.evaluate.model import Scorer
        from pipeline.evaluate.ranks import Ranks

        temperature = (0.0 if args.beams > 1 else 1.0) if args.temperature is None else args.temperature
        decoding = Decoding(
            max_tokens=args.max_tokens,
            temperature=temperature,
            top_k=(40 if temperature > 0 else 0) if args.top_k is None else args.top_k,
            top_p=args.top_p,
            beams=args.beams,
            length_alpha=args.alpha,
            length_norm=args.length_norm,
            samples=args.samples,
            seed=args.seed,
            stop=tuple(stop.replace("\\n", "\n") for stop in args.stop),
        )
        ranks = Ranks.join()
        scorer = ranks.together(lambda: Scorer(args.checkpoint, args.batch_tokens, ranks))
        if not ranks.is_main:
            scorer.serve()
            return
        try:
            _write(args, decoding, scorer)
        except BrokenPipeError:  # whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(args: argparse.Namespace, decoding: Decoding, scorer: Scorer) -> None:
    from pipeline.evaluate.generate import generate
    from pipeline.evaluate.terminal import Show, read_prompts, rows

    with scorer:
        prompts = read_prompts(args.prompts, args.file, sys.stdin)
        ids = [one or [scorer.tokenizer.eot_id] for one in scorer.tokenizer.encode_batch(prompts)]
        show = Show(prompts, args.samples, sys.stdout)
        streams = not args.json and args.beams == 1 and scorer.ranks.size == 1
        found = generate(scorer, ids, decoding, show.piece if streams else None)
    if args.json:
        sys.stdout.buffer.write(b"".join(row + b"\n" for row in rows(prompts, found)))
    elif not streams:
        show.whole(found)
    if scorer.truncated:
        print(f"{scorer.truncated:,} prompts were cut on the left to fit the model's window", file=sys.stderr)
    sys.stdout.flush()


if __name__ == "__main__":
    command.end_with(main)
