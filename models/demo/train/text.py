"""CLIP's byte pair encoding, from the vocabulary in models/clip."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

CLIP = Path(__file__).resolve().parents[2] / "clip" / "bpe_simple_vocab_16e6.txt"
START, END, LENGTH = 49406, 49407, 77


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: _byte_order(c))
    merges = [tuple(line.split()) for line in CLIP.read_text(encoding="utf-8").split("\n")[1:48895]]
    words = alphabet + [c + "</w>" for c in alphabet] + ["".join(pair) for pair in merges]
    vocabulary = {word: i for i, word in enumerate(words)}
    bpe = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return bpe


def _byte_order(char):
    """Printable bytes come first in CLIP's alphabet, in their own order; then those with a stand-in beyond 255."""
    return (ord(char) > 255, ord(char))


def tokens(bpe, texts):
    """77 tokens for each text."""
    rows = []
    for encoding in bpe.encode_batch(texts):
        ids = [START] + encoding.ids[:LENGTH - 2] + [END]
        rows.append(ids + [END] * (LENGTH - len(ids)))
    return rows
