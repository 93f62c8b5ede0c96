import pytest
import torch
from small_model import model_config, random_tokens

from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.parts import canonical_rows

VOCAB = 50


def gpt(multiple: int) -> GPT:
    config = model_config(vocab_multiple=multiple)
    model = GPT(config, VOCAB).eval()
    initialize(model, config, 4)
    return model


def test_padding_changes_neither_logits_nor_loss_nor_gradients() -> None:
    plain, padded = gpt(1), gpt(16)
    assert (plain.embedding.weight.shape[0], padded.embedding.weight.shape[0]) == (50, 64)
    tokens, targets = random_tokens((2, 9), VOCAB), random_tokens((2, 9), VOCAB, 1)
    torch.testing.assert_close(padded.logits(tokens), plain.logits(tokens))
    assert padded.logits(tokens).shape == (2, 9, VOCAB)
    for model in (plain, padded):
        model(tokens, targets)["loss"].backward()
    theirs = dict(padded.named_parameters())
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        gradient = theirs[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient[: len(parameter)], parameter.grad, msg=name)
        assert not gradient[len(parameter) :].any(), name


def test_padded_rows_stay_zero_in_training() -> None:
    model = gpt(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(random_tokens((2, 9), VOCAB, step), random_tokens((2, 9), VOCAB, step + 9))["loss"].backward()
        optimizer.step()
    assert not model.embedding.weight[VOCAB:].any()
    assert model.embedding.weight[:VOCAB].abs().min() > 0


def test_only_the_embedding_has_padding() -> None:
    rows = {name: canonical_rows(parameter) for name, parameter in gpt(16).named_parameters()}
    assert {name for name, found in rows.items() if found is not None} == {"transformer.wte.weight"}
    assert rows["transformer.wte.weight"] == VOCAB


@pytest.mark.parametrize("multiple", [1, 16, 37])
def test_an_unpadded_checkpoint_loads_under_any_padding(multiple: int) -> None:
    source = gpt(1)
    with torch.no_grad():
        source.embedding.weight += 1
    model = gpt(multiple)
    model.load_state_dict(source.state_dict())
    assert torch.equal(model.embedding.weight[:VOCAB], source.embedding.weight)
    assert not model.embedding.weight[VOCAB:].any()


@pytest.mark.parametrize("rows", [49, 51])
def test_another_vocabulary_does_not_load(rows: int) -> None:
    state = gpt(1).state_dict()
    state["transformer.wte.weight"] = torch.zeros(rows, 16)
    with pytest.raises(RuntimeError, match="size mismatch"):
        gpt(16).load_state_dict(state)
