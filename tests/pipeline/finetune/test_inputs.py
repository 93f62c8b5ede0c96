from pipeline.finetune.inputs import SpecialTokens, classification, collate
from pipeline.model.loss import IGNORE

SPECIAL = SpecialTokens.after(100)


def test_special_tokens_follow_the_vocabulary() -> None:
    assert (SPECIAL.start, SPECIAL.delimiter, SPECIAL.extract) == (100, 101, 102)


def test_layout_is_start_text_extract() -> None:
    assert classification([5, 6, 7], SPECIAL, 16) == [100, 5, 6, 7, 102]
    assert classification([5, 6, 7], SPECIAL, 5) == [100, 5, 6, 7, 102]


def test_long_text_is_cut_and_the_extract_token_kept() -> None:
    assert classification([5, 6, 7, 8], SPECIAL, 5) == [100, 5, 6, 7, 102]
    assert classification([5, 6, 7, 8], SPECIAL, 3) == [100, 5, 102]


def test_collate_pads_on_the_right_and_shifts_targets() -> None:
    batch = collate([[100, 5, 102], [100, 6, 7, 8, 102]], [1, 0])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "tokens": [[100, 5, 102, 0, 0], [100, 6, 7, 8, 102]],
        "targets": [[5, 102, IGNORE, IGNORE, IGNORE], [6, 7, 8, 102, IGNORE]],
        "extract": [2, 4],
        "labels": [1, 0],
    }
