from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import complete, document, words, write_documents

from data_prep import keyed
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, StageManifest
from data_prep.quality.model import QualityModel, features
from data_prep.quality.stage import (
    MODEL,
    KeepSettings,
    QualityModelSettings,
    QualityModelStage,
    QualityStage,
    is_kept,
    pareto,
)

GOOD, BAD = ["the river runs past", "a house of stone"], ["buy cheap pills now", "click here to win"]


def texts(rng: random.Random, kind: list[str], count: int) -> list[str]:
    return [" ".join([rng.choice(kind), words(rng, 10), rng.choice(kind)]) for _ in range(count)]


def write_lines(path: Path, documents: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageManifest, FileRef]:
    folder, rng = tmp_path_factory.mktemp("model"), random.Random(2)
    stage = model_stage(folder, texts(rng, GOOD, 200), texts(rng, BAD, 200))
    manifest = complete(stage)
    (ref,) = manifest.files(stage.folder, MODEL)
    return manifest, ref


def model_stage(folder: Path, good: list[str], bad: list[str], **given: Any) -> QualityModelStage:
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"positive": [write_lines(folder / "p.jsonl", good)], "negative": [write_lines(folder / "n.jsonl", bad)]}
    return QualityModelStage(str(folder / "model"), QualityModelSettings.model_validate({**sets, **given}), {}, {})


def quality_stage(folder: Path, refs: list[FileRef], model: FileRef, **given: Any) -> QualityStage:
    return QualityStage(str(folder / "quality"), KeepSettings(**given), {"documents": refs, "model": [model]}, {})


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.floats(0.5, 20))
def test_the_draw_is_the_papers_rule(score: float, uniform: float, alpha: float) -> None:
    """P(pareto > 1 - score) = (2 - score)^-alpha, and a higher score is never worse."""
    limit = 1 - (2 - score) ** -alpha
    if abs(uniform - limit) > 1e-9:
        assert is_kept(score, alpha, uniform) == (uniform > limit)
    assert is_kept(1.0, alpha, uniform) or not is_kept(score, alpha, uniform)


def test_the_quantiles_are_those_of_numpys_pareto() -> None:
    drawn = np.random.default_rng(0).pareto(9.0, 200_000)
    for uniform in (0.1, 0.5, 0.9, 0.99):
        assert pareto(9.0, uniform) == pytest.approx(np.quantile(drawn, uniform), rel=0.03)


def test_the_model_tells_good_from_bad_on_documents_it_has_not_seen(model: tuple[StageManifest, FileRef]) -> None:
    manifest, ref = model
    summary = manifest.summary
    assert summary["auc"] > 0.99
    assert summary["accuracy"] > 0.97
    assert summary["positive:learned"] + summary["positive:measured"] == 200
    assert 5 < summary["positive:measured"] < 40
    report = json.loads(Path(ref.path).with_name("model.json").read_text())
    assert sum(row["documents"] for row in report["reliability"]) == report["documents"]


def test_kept_are_those_whose_draw_says_so(tmp_path: Path, model: tuple[StageManifest, FileRef]) -> None:
    rng = random.Random(5)
    rows = [document(i, text) for i, text in enumerate(texts(rng, GOOD, 60) + texts(rng, BAD, 300))]
    refs = write_documents(tmp_path / "in", rows[:100], rows[100:])
    stage = quality_stage(tmp_path, refs, model[1])
    manifest = complete(stage, reverse=True)
    fitted = QualityModel.from_bytes(Path(model[1].path).read_bytes(), "m")
    expected = {
        row["id"]: fitted.score(features(row["text"]))
        for row in rows
        if is_kept(fitted.score(features(row["text"])), 9.0, keyed.draw(0, "quality", row["id"]))
    }
    kept = [row for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)]
    assert {row["id"]: json.loads(row["metadata"])["quality"] for row in kept} == {
        id: round(score, 4) for id, score in expected.items()
    }
    assert 30 <= len([row for row in kept if int(row["id"], 16) < 60]) <= 60
    assert len([row for row in kept if int(row["id"], 16) >= 60]) <= 15
    gone = [row for ref in manifest.files(stage.folder, "removed/") for row in pq.read_table(ref.path).to_pylist()]
    assert manifest.totals.dropped == {"low-quality": len(gone)}
    assert len(gone) + len(kept) == 360
    assert all(row["score"] == fitted.score(features(rows[int(row["id"], 16)]["text"])) for row in gone)
    counts = manifest.totals.extra
    assert sum(n for name, n in counts.items() if name.endswith(":read")) == 360
    assert sum(n for name, n in counts.items() if name.endswith(":kept")) == len(kept)


def test_a_larger_alpha_keeps_less_and_the_seed_others(tmp_path: Path, model: tuple[StageManifest, FileRef]) -> None:
    rng = random.Random(6)
    rows = [document(i, f"{GOOD[0]} {BAD[0]} {words(rng, 5)}") for i in range(300)]
    refs = write_documents(tmp_path / "in", rows)
    kept = {}
    for alpha, seed in ((1.0, 0), (1.0, 1), (20.0, 0)):
        stage = quality_stage(tmp_path / f"{alpha}-{seed}", refs, model[1], alpha=alpha, seed=seed)
        (ref,) = complete(stage).files(stage.folder, "part-")
        kept[alpha, seed] = {row["id"] for row in read_rows(ref.path)}
    assert len(kept[20.0, 0]) < len(kept[1.0, 0])
    assert kept[20.0, 0] <= kept[1.0, 0] != kept[1.0, 1]


def test_the_model_is_the_same_bytes_whatever_the_order_of_its_documents(tmp_path: Path) -> None:
    rng = random.Random(3)
    good, bad = texts(rng, GOOD, 60), texts(rng, BAD, 60)
    made = []
    for number in range(2):
        stage = model_stage(tmp_path / str(number), good, [*bad, *bad[:5]], documents=50)
        complete(stage)
        made.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(stage.folder).glob("model.*")})
        good.reverse()
        rng.shuffle(bad)
    assert made[0] == made[1]


@pytest.mark.parametrize(("good", "message"), [([], "0 distinct"), (["a b"] * 50, "1 distinct")])
def test_too_few_documents_are_an_error(tmp_path: Path, good: list[str], message: str) -> None:
    with pytest.raises(UserError, match=rf"quality\.positive: {message} documents are too few"):
        complete(model_stage(tmp_path, good, texts(random.Random(1), BAD, 50)))
    settings = QualityModelSettings(positive=("/no/such",), negative=("/no/such",))
    with pytest.raises(UserError, match=r"quality\.negative: no file matches '/no/such'"):
        QualityModelStage(str(tmp_path / "x"), settings, {}, {}).plan()


def test_the_default_alpha_is_the_papers() -> None:
    assert KeepSettings().alpha == 9.0
