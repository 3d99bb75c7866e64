"""Preparation: a corpus becomes a dataset, once."""

from __future__ import annotations

import importlib.metadata
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.clock import Clock, SystemClock
from trainer.contract.spec import DataSpec
from trainer.data import dataset as datasets
from trainer.data import tokenizer
from trainer.data.bpe import Training
from trainer.data.corpus import Corpus, find_corpus
from trainer.data.dataset import Dataset
from trainer.data.encoding import Encoded, encode
from trainer.data.errors import DataError
from trainer.data.formats import Document
from trainer.data.places import is_validation, place_of
from trainer.data.shards import FileFacts, HashedFile
from trainer.data.splits import Splits
from trainer.data.storage import Storage, cannot_write
from trainer.data.tokenizer import Tokenizer
from trainer.data.watch import Progress, Watch

#: text that one thread encodes at a time
GROUP_CHARACTERS = 1 << 18
GROUP_DOCUMENTS = 256

#: a file changed so shortly before could change again without another time stamp
SETTLED_NS = 2_000_000_000

#: part of the progress that reading the corpus for its hash takes
_HASHED = 0.02


@dataclass(frozen=True)
class Settings:
    """Everything beside the corpus that decides the bytes of a dataset."""

    vocab_size: int
    validation_permille: int
    tokenizer_characters: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, with the versions of the libraries that cut the text."""
        return {
            "format": datasets.FORMAT,
            "vocab_size": self.vocab_size,
            "validation_permille": self.validation_permille,
            "tokenizer_characters": self.tokenizer_characters,
            "pattern": tokenizer.PATTERN,
            "special": list(tokenizer.SPECIAL_TOKENS),
            "rustbpe": importlib.metadata.version("rustbpe"),
            "tiktoken": importlib.metadata.version("tiktoken"),
        }


def prepare(
    data: DataSpec,
    vocab_size: int,
    data_dir: Path,
    progress: Progress,
    *,
    threads: int = 0,
    clock: Clock | None = None,
) -> Dataset:
    """Train the tokenizer and tokenize the corpus, unless that was done before.

    The same corpus and settings give the same dataset id and the same bytes, whatever the number
    of threads. Preparations in the same directory wait for each other.

    Args:
        data_dir: holds all prepared datasets; made when missing.
        progress: called with (detail, fraction) several times a second; the fraction is 0..1, or
            negative while waiting. May raise to abort: then nothing half-made stays.
        threads: encode with so many; 0 means all cores.

    Raises:
        DataError: the corpus cannot be used, or the dataset cannot be written.
    """
    watch = Watch(progress, clock or SystemClock())
    settings = Settings(vocab_size, data.validation_permille, data.tokenizer_characters)
    storage = Storage(data_dir)
    corpus = find_corpus(data.corpus)
    key = datasets.checksum([settings.to_dict(), os.fsencode(corpus.root).hex()])
    known = storage.open(storage.recall(key, corpus.fingerprint()))
    if known is not None:
        storage.tidy()
        return known
    storage.make()
    with storage.locked(watch) as now_ns:
        corpus = find_corpus(data.corpus)
        preparation = Preparation(corpus, settings, storage, watch, threads)
        dataset_id = preparation.dataset_id()
        prepared = storage.open(dataset_id) or preparation.run(dataset_id)
        if corpus.changed_ns + SETTLED_NS < now_ns:
            storage.remember(key, corpus.fingerprint(), dataset_id)
        return prepared


class Preparation:
    """The making of one dataset, with the lock held."""

    def __init__(
        self, corpus: Corpus, settings: Settings, storage: Storage, watch: Watch, threads: int
    ) -> None:
        self._corpus = corpus
        self._settings = settings
        self._storage = storage
        self._watch = watch
        self._threads = threads or len(os.sched_getaffinity(0))
        tokenizer_share = min(1.0, settings.tokenizer_characters / max(1, corpus.size_bytes))
        #: progress when the tokenizer is trained: a byte costs about as much there as later
        self._trained = _HASHED + (1.0 - _HASHED) * tokenizer_share / (1.0 + tokenizer_share)

    def dataset_id(self) -> str:
        """Hash over the settings and the contents of the corpus, which is read for it."""
        total = max(1, self._corpus.size_bytes)
        self._watch.begin(f"reading {len(self._corpus.files)} files", 0.0)

        def read(done_bytes: int) -> None:
            part = min(1.0, done_bytes / total)
            self._watch.say(f"reading {len(self._corpus.files)} files", _HASHED * part)

        return datasets.checksum([self._settings.to_dict(), self._corpus.digest(read)])

    def run(self, dataset_id: str) -> Dataset:
        """Make the dataset and open it."""
        try:
            with self._storage.building(dataset_id) as directory:
                self._build(directory, dataset_id)
        except OSError as error:
            raise cannot_write(self._storage.data_dir, error) from None
        self._watch.begin("data prepared", 1.0)
        return datasets.open_dataset(self._storage.data_dir, dataset_id)

    def _build(self, directory: Path, dataset_id: str) -> None:
        trained = self._train_tokenizer()
        facts = [_write(directory / tokenizer.FILE_NAME, trained.to_json())]
        splits = Splits(
            directory,
            self._settings.validation_permille,
            says_itself=self._corpus.has_validation,
        )
        try:
            self._tokenize(trained, splits)
            manifest = splits.close(dataset_id, self._settings.to_dict(), facts)
        finally:
            splits.abandon()
        if find_corpus(self._corpus.spec).fingerprint() != self._corpus.fingerprint():
            raise DataError(
                f"corpus {self._corpus.root}: changed while it was being prepared",
                "let it be complete first, then try again",
            )
        _write(directory / datasets.MANIFEST, manifest.to_json())

    def _train_tokenizer(self) -> Tokenizer:
        self._watch.begin("training the tokenizer", _HASHED)
        goal = max(1, min(self._settings.tokenizer_characters, self._corpus.size_bytes))
        training = Training(
            self._training_texts(), self._settings.vocab_size, self._settings.tokenizer_characters
        )

        def say(taken: int) -> None:
            part = min(1.0, taken / goal)
            detail = f"training the tokenizer on {taken / 1e6:.1f} M characters"
            self._watch.say(detail, _HASHED + (self._trained - _HASHED) * part)

        return training.run(self._watch, say)

    def _training_texts(self) -> Iterator[str]:
        permille = self._settings.validation_permille
        for document in self._corpus.documents():
            if document.text and not is_validation(document, place_of(document.text), permille):
                yield document.text

    def _tokenize(self, trained: Tokenizer, splits: Splits) -> None:
        self._watch.begin("tokenizing", self._trained)
        total = max(1, self._corpus.size_bytes)
        for position, encoded in self._encoded(trained):
            splits.add(encoded)
            part = min(1.0, position / total)
            self._watch.say(
                f"tokenizing: {splits.documents} documents, {splits.tokens / 1e6:.1f} M tokens",
                self._trained + (1.0 - self._trained) * part,
            )

    def _encoded(self, trained: Tokenizer) -> Iterator[tuple[int, Encoded]]:
        """Groups of documents as tokens, in order, a few groups ahead in threads.

        With each group goes its position in the corpus, in bytes.
        """
        permille = self._settings.validation_permille
        pending: deque[tuple[int, Future[Encoded]]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tokenize")
        try:
            for group in groups(self._corpus.documents()):
                future = pool.submit(encode, trained, group, permille)
                pending.append((group[-1].position, future))
                if len(pending) > 2 * self._threads:
                    position, future = pending.popleft()
                    yield position, self._watch.wait(future)
            while pending:
                position, future = pending.popleft()
                yield position, self._watch.wait(future)
        finally:
            pool.shutdown(cancel_futures=True)


def groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents that have text, in order, in groups worth a thread's while."""
    group: list[Document] = []
    characters = 0
    for document in documents:
        if not document.text:
            continue
        group.append(document)
        characters += len(document.text)
        if characters >= GROUP_CHARACTERS or len(group) >= GROUP_DOCUMENTS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _write(path: Path, text: str) -> FileFacts:
    file = HashedFile(path)
    try:
        file.write(text.encode())
        return file.close()
    finally:
        file.abandon()
