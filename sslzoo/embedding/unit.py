"""Unit vectors, whose products are cosine similarities."""

import numpy as np

from sslzoo.embedding.rows import Vectors


def normalize_rows(vectors: Vectors) -> Vectors:
    """Divide each row of (N, D) by its Euclidean length; a row of zeros stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
