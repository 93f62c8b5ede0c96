"""A scorer as a model of EleutherAI's lm-evaluation-harness, registered there as `webtext`.

Texts are encoded by the harness's own conventions, so that the numbers compare with those that others publish: a
context is not preceded by <|endoftext|> unless it is empty, and each document of a rolling perplexity is.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.errors import UserError
from pipeline.evaluate.decoding import Decoding
from pipeline.evaluate.generate import generate
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.ranks import Ranks

if importlib.util.find_spec("lm_eval") is None:
    raise UserError("lm-evaluation-harness is not installed", where="harness", fix="run `pip install -e '.[harness]'`")
# Read once, when the packages are imported: a task whose data is not here fails instead of downloading it.
for _variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("DISABLE_MULTIPROC", "1")  # resample in this process: forks of one with torch threads may hang

import lm_eval.models  # noqa: E402, F401  (its own models, which it registers only while it has none)
from lm_eval.api.model import TemplateLM  # noqa: E402
from lm_eval.api.registry import register_model  # noqa: E402

NAME = "webtext"
"""Under which the harness knows the model."""
_MOST_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_DEFAULT_TOKENS = 256
"""The harness's own."""
_Pair = tuple[tuple[str, str], list[int], list[int]]


@register_model(NAME)
class WebtextLM(TemplateLM):  # type: ignore[misc]
    """A checkpoint of ours, or a folder of a Hugging Face model, as the harness sees it.

    Under a launcher with several ranks only rank 0 goes on from here; the others compute for it and exit.

    Args:
        checkpoint: its folder; not needed with `scorer`.
        batch_tokens: tokens per forward pass; it does not change the numbers.
        scorer: an open one.
        device: "cpu" keeps the model off a GPU.
        batch_size: of the harness; `batch_tokens` stands for it.
        max_batch_size: likewise.

    Raises:
        UserError: there is no such checkpoint, or none is given.
    """

    def __init__(
        self,
        checkpoint: str = "",
        batch_tokens: int = 8192,
        scorer: Scorer | None = None,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if scorer is None:
            if not checkpoint:
                raise UserError("no checkpoint", where="--model_args", fix="give checkpoint=RUN/checkpoints/latest")
            if str(device).startswith("cpu"):
                os.environ["DS_ACCELERATOR"] = "cpu"
            ranks = Ranks.join()
            scorer = ranks.together(lambda: Scorer(checkpoint, int(batch_tokens), ranks))
            if not ranks.is_main:
                scorer.serve()
                sys.exit(0)
            atexit.register(ranks.dismiss)
        self.scorer, self._tokenizer = scorer, scorer.tokenizer
        self.max_length = scorer.sequence_length

    @property
    def eot_token_id(self) -> int:
        """Id of <|endoftext|>."""
        return self._tokenizer.eot_id

    @property
    def max_gen_toks(self) -> int:
        """Most tokens to generate where a task does not say."""
        return min(_DEFAULT_TOKENS, self.max_length // 2)

    @property
    def tokenizer_name(self) -> str:
        """What tells the tokenizer from others."""
        return f"{NAME}-{self._tokenizer.sha256}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes down about the model."""
        parameters = sum(parameter.numel() for parameter in self.scorer.model.parameters())
        return {"model_num_parameters": parameters, "model_dtype": "float32", "model_sha": self.scorer.loaded.digest}

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text; none is added."""
        return self._tokenizer.encode(string)

    def tok_decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(tokens)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether it is what greedy decoding gives) of each (context, continuation)."""
        pairs = [request.args for request in requests]
        found = [(one.logprob, one.greedy) for one in self.scorer.loglikelihood(pairs, title="harness")]
        return self._kept("loglikelihood", pairs, found)

    def _loglikelihood_tokens(self, requests: Sequence[_Pair], **_: Any) -> list[tuple[float, bool]]:
        pairs = [(before, ids) for _, before, ids in requests]
        return [(one.logprob, one.greedy) for one in self.scorer.loglikelihood_ids(pairs, title="harness")]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts; each token has as much context before it as fits."""
        texts = [request.args[0] for request in requests]
        found = [one.logprob for one in self.scorer.loglikelihood_rolling(texts, title="harness")]
        return self._kept("loglikelihood_rolling", [(text,) for text in texts], found)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The text that goes on from each context, up to a stop string."""
        groups: dict[Decoding, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(decoding_of(request.args[1], self.max_gen_toks), []).append(number)
        found = [""] * len(requests)
        for decoding, numbers in groups.items():
            contexts = self._tokenizer.encode_batch([requests[number].args[0] for number in numbers])
            prompts = [ids or [self.eot_token_id] for ids in contexts]
            for number, generations in zip(
                numbers, generate(self.scorer, prompts, decoding, title="harness"), strict=True
            ):
                found[number] = generations[0].text
        return self._kept("generate_until", [request.args for request in requests], found)

    def _kept(self, kind: str, arguments: Sequence[Any], found: list[Any]) -> list[Any]:
        """The results, also handed to the harness's cache."""
        for argument, result in zip(arguments, found, strict=True):
            self.cache_hook.add_partial(kind, argument, result)
        return found


def decoding_of(settings: Mapping[str, Any], default_tokens: int) -> Decoding:
    """`generation_kwargs` of a task.

    Args:
        settings: `until`, `max_gen_toks` or another name of it, `do_sample`, `temperature`, `top_k`, `top_p`, `seed`,
            `num_beams`, `length_penalty`.
        default_tokens: most tokens where they do not say.

    Raises:
        UserError: a setting that is none of these.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    until = given.pop("until", [])
    most = [given.pop(name) for name in _MOST_TOKENS if name in given]
    sampling = given.pop("do_sample", float(given.get("temperature", 0.0)) > 0)
    temperature = float(given.pop("temperature", 1.0)) if sampling else 0.0
    beams = int(given.pop("num_beams", 1))
    penalty = float(given.pop("length_penalty", 1.0))
    top_k, top_p, seed = int(given.pop("top_k", 0)), float(given.pop("top_p", 1.0)), int(given.pop("seed", 0))
    for name in ("temperature", "use_cache"):
        given.pop(name, None)
    if given:
        raise UserError(f"{min(given)!r} is not supported", where="generation_kwargs", fix="leave it out")
    return Decoding(
        max_tokens=int(most[0]) if most else default_tokens,
        temperature=temperature,
        top_k=top_k if temperature > 0 else 0,
        top_p=top_p if temperature > 0 else 1.0,
        beams=beams,
        length_alpha=penalty,
        length_norm="power",
        seed=seed,
        stop=tuple(one for one in ([until] if isinstance(until, str) else until) if one),
    )
