"""Static word vectors: of a word2vec file, or trained on a token dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import TOKENIZER, DatasetManifest, TokenSplit
from data_prep.tokenizer import Tokenizer
from pipeline.config.features import VectorsConfig
from pipeline.features.examples import Dense

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Words without punctuation, as they are written; an apostrophe within one belongs to it."""
    return _WORD.findall(text)


def _gensim() -> None:
    try:
        import gensim  # noqa: F401
    except ImportError:
        raise UserError(
            "word vectors need the package gensim", where="vectors", fix="install the extra: pip install '.[vectors]'"
        ) from None


def load_vectors(path: str) -> KeyedVectors:
    """Read a file in word2vec's format, binary if it is called *.bin or *.bin.gz.

    Raises:
        UserError: there is none, or it is not of this format; gensim is not installed.
    """
    _gensim()
    from gensim.models import KeyedVectors

    if not Path(path).is_file():
        raise UserError("no such file of word vectors", where=path, fix="correct vectors.path")
    binary = path.endswith((".bin", ".bin.gz"))
    try:
        return KeyedVectors.load_word2vec_format(path, binary=binary)
    except Exception as error:  # it raises whatever its parsing meets
        raise UserError(
            f"not word vectors in word2vec's {'binary' if binary else 'text'} format ({error})",
            where=path,
            fix="give a file that word2vec or gensim's save_word2vec_format wrote",
        ) from None


class _Sentences:
    """Lines of the documents of a split as lower-case words; may be read several times."""

    def __init__(self, dataset: str) -> None:
        self._split = TokenSplit(dataset, DatasetManifest.load(dataset), "train")
        self._tokenizer = Tokenizer.load(store.join(dataset, TOKENIZER))

    def __iter__(self) -> Iterator[list[str]]:
        for number in range(self._split.documents):
            ids = self._split.document(number)[:-1].tolist()  # without <|endoftext|>
            for line in self._tokenizer.decode_bytes(ids).decode(errors="replace").splitlines():
                if found := words(line.lower()):
                    yield found


def train_vectors(settings: VectorsConfig, path: str) -> None:
    """Train on the training split of a token dataset and write a binary word2vec file; the same bytes every time.

    Raises:
        UserError: there is no such dataset; no word is frequent enough; gensim is not installed.
    """
    _gensim()
    from gensim.models import Word2Vec

    assert settings.dataset is not None
    try:
        model = Word2Vec(
            _Sentences(settings.dataset),
            vector_size=settings.size,
            window=settings.window,
            min_count=settings.min_count,
            sg=int(settings.skip_gram),
            negative=settings.negative,
            epochs=settings.epochs,
            seed=settings.seed,
            workers=1,  # more than one make other vectors each time
        )
    except RuntimeError as error:  # an empty vocabulary
        raise UserError(
            f"no vectors can be trained ({error})", where=settings.dataset, fix="lower vectors.min_count"
        ) from None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    part = f"{path}.tmp"
    model.wv.save_word2vec_format(part, binary=True)
    Path(part).replace(path)


def trained_path(settings: VectorsConfig, folder: str) -> str:
    """Where the vectors of a dataset lie below `run.dir`: settings and data are in the name.

    Raises:
        UserError: there is no such dataset.
    """
    assert settings.dataset is not None
    facts = settings.model_dump(mode="json", exclude={"path", "dataset"})
    digest = store.digest({**facts, "dataset": DatasetManifest.load(settings.dataset).digest})
    return str(Path(folder) / f"word2vec-{digest[:12]}.bin")


class MeanVectors:
    """Texts as the mean of their words' vectors.

    Args:
        vectors: of words; a word that is not there as it is written is looked up in lower case.

    Attributes:
        seen: words looked up so far.
        known: those of them that have a vector.
    """

    def __init__(self, vectors: KeyedVectors) -> None:
        self._vectors = vectors
        self.seen = self.known = 0

    def embed(self, texts: Sequence[str]) -> Dense:
        """[texts, size] float32; zeros for a text without a known word."""
        found = np.zeros((len(texts), self._vectors.vector_size), np.float32)
        index = self._vectors.key_to_index
        for row, text in enumerate(texts):
            all_words = words(text)
            places = [index.get(word, index.get(word.lower(), -1)) for word in all_words]
            known = [place for place in places if place >= 0]
            self.seen, self.known = self.seen + len(all_words), self.known + len(known)
            if known:
                found[row] = self._vectors.vectors[known].mean(0)
        return found
