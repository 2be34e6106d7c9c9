"""A tokenizer trained on a dataset's own texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(texts: Iterable[str], vocabulary: int = 8000) -> str:
    """Train byte-pair encoding (Sennrich et al. 2016) on lower-cased words; the same texts give the same tokenizer.

    Args:
        texts: The texts; of the training set alone, so that nothing of the others is known.
        vocabulary: The most pieces.

    Returns:
        The tokenizer's JSON, a plain string that a checkpoint can hold.

    Raises:
        ValueError: If the `tokenizers` library is missing.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError as error:
        said = 'the tokenizers library is not installed; pip install -e ".[text]"'
        raise ValueError(f"backbone=transformer: {said}") from error
    tokenizer: Any = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    made: str = tokenizer.to_str()
    return made


def texts_of(dataset: Any) -> list[str]:
    """Return the texts of a dataset whose samples have one."""
    if hasattr(dataset, "fields"):
        return list(dataset.fields.get("text", []))
    samples = (dataset[i] for i in range(len(dataset)))
    return [sample["text"] for sample in samples if "text" in sample]
