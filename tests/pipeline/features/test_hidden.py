from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.features import HiddenConfig
from pipeline.config.finetune import InitConfig
from pipeline.features.hidden import FrozenBody
from pipeline.finetune.origin import Origin
from pipeline.finetune.task import Example
from pipeline.model.gpt import GPT

TEXTS = ["the cat sees a boat.", "nobody", "the river follows the long road. my sister likes it."]


def body(checkpoint: Path, **settings: object) -> FrozenBody:
    origin = Origin.open(str(checkpoint), 0.0)
    return FrozenBody(origin, InitConfig(checkpoint=str(checkpoint)), 1, HiddenConfig.model_validate(settings))


def test_states_are_those_of_the_model_for_each_text_alone(pretrained: Path) -> None:
    origin = Origin.open(str(pretrained), 0.0)
    model = GPT(origin.shape, origin.vocab_size).eval()
    model.load_state_dict(origin.weights())
    tokenizer = Tokenizer(origin.tokenizer, "")
    found = {pooling: body(pretrained, pooling=pooling, batch_size=2).embed(TEXTS) for pooling in ("mean", "last")}
    for row, text in enumerate(TEXTS):
        ids = tokenizer.encode(text)[: origin.shape.sequence_length - 1]
        with torch.no_grad():
            states = model.hidden(torch.tensor([[tokenizer.eot_id, *ids]]))[0, 1:]
        np.testing.assert_allclose(found["last"][row], states[-1], atol=1e-5)
        np.testing.assert_allclose(found["mean"][row], states.mean(0), atol=1e-5)


def test_texts_that_are_cut_are_counted(pretrained: Path) -> None:
    frozen = body(pretrained)
    room = frozen.length - 1  # beside <|endoftext|>
    texts = ["a" + " a" * (count - 1) for count in (1, room, room + 1, room + 9)]
    tokenizer = Tokenizer(Origin.open(str(pretrained), 0.0).tokenizer, "")
    assert [len(tokenizer.encode(text)) for text in texts] == [1, room, room + 1, room + 9]
    frozen.embed(texts)
    assert (frozen.cut, frozen.read) == (2, 4)


def test_layers_differ_and_the_first_is_the_embedding(pretrained: Path) -> None:
    origin = Origin.open(str(pretrained), 0.0)
    tokenizer, weights = Tokenizer(origin.tokenizer, ""), origin.weights()
    ids = tokenizer.encode(TEXTS[0])[: origin.shape.sequence_length - 1]
    expected = weights["transformer.wte.weight"][ids[-1]] + weights["transformer.wpe.weight"][len(ids)]
    layers = [body(pretrained, layer=layer, pooling="last").embed(TEXTS)[0] for layer in (0, 1, 2)]
    np.testing.assert_allclose(layers[0], expected, atol=1e-6)
    assert not np.allclose(layers[1], layers[2], atol=1e-3)
    with pytest.raises(UserError, match="2 blocks, fewer than 3"):
        body(pretrained, layer=3)


def test_the_extract_token_sees_both_texts_in_either_order(pretrained: Path) -> None:
    frozen = body(pretrained, pooling="extract")
    pair = frozen.extract([Example((TEXTS[1], "a dog"), "x"), Example(("a dog", TEXTS[1]), "x")], "similarity")
    np.testing.assert_allclose(pair[0], pair[1], atol=1e-5)
    choice = frozen.extract([Example(("nobody", "a", "b", "c"), 0), Example(("it", "a", "b"), 1)], "choice")
    assert choice.shape == (5, 32)
    assert (frozen.cut, frozen.read) == (0, 4)
    frozen.extract([Example(("nobody " * 40, "a"), "x"), Example(("it", "a"), "x")], "similarity")
    assert (frozen.cut, frozen.read) == (1, 6)
    assert not np.allclose(choice[0], choice[1], atol=1e-4)
