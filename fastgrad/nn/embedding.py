"""An embedding as an object: rows of a table by their ids, and the table's gradient."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arguments import check_count, native_dtype, random_generator
from fastgrad.arrays import Array
from fastgrad.layers.embedding import embedding_backward, embedding_forward
from fastgrad.layers.embedding_arguments import EmbeddingCache
from fastgrad.nn.layer import Turns

__all__ = ["Embedding"]


class Embedding(Turns):
    """A table with a row for each word: see `fastgrad.embedding_forward`.

    Its input is no array of numbers but of ids, which have no gradient. So it is not a `Layer`:
    call it before a `Sequential`, whose ``backward`` returns what this one's takes.

    Parameters
    ----------
    words, output_dim : int
        How many rows the table has, and how wide they are.
    dtype : {"float64", "float32"}
        Of the table.
    seed : int, optional
        The table is standard normal, drawn by ``numpy.random.Generator(PCG64(seed))``.

    Attributes
    ----------
    table : ndarray
        ``(words, output_dim)``. Yours to change.
    grad_table : ndarray
        Its gradient; None before `backward`.

    Raises
    ------
    TypeError, ValueError
        For sizes that are no positive integers, an unknown dtype, a negative seed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Embedding(3, 1)
    >>> layer.table[:] = [[1.0], [2.0], [3.0]]
    >>> layer.forward([2, 0, 2]).tolist()
    [[3.0], [1.0], [3.0]]
    >>> layer.backward([[1.0], [10.0], [100.0]])
    >>> layer.grad_table.tolist()
    [[10.0], [0.0], [101.0]]
    """

    _cache: EmbeddingCache | None = None

    def __init__(
        self, words: int, output_dim: int, dtype: str = "float64", seed: int | None = None
    ) -> None:
        self.words = check_count("Embedding", "words", words)
        self.output_dim = check_count("Embedding", "output_dim", output_dim)
        native = native_dtype("Embedding", dtype)
        self.dtype = native.name
        rng = random_generator("Embedding", seed)
        self.table: Array = rng.standard_normal((self.words, self.output_dim)).astype(native)
        self.grad_table: Array | None = None

    def __repr__(self) -> str:
        dtype = "" if self.dtype == "float64" else f", dtype={self.dtype!r}"
        return f"Embedding({self.words}, {self.output_dim}{dtype})"

    def forward(self, ids: ArrayLike) -> Array:
        """Return the rows of these ids, and remember the ids.

        Parameters
        ----------
        ids : array_like of int
            Of any shape, from 0 to ``words - 1``.

        Returns
        -------
        ndarray
            ``(*ids.shape, output_dim)``.

        Raises
        ------
        TypeError, ValueError
            For ids that are not integers, or not in the table.
        """
        self._cache = None  # if forward fails, backward has nothing to use
        y, self._cache = embedding_forward(ids, self.table)
        self._gone_forward()
        return y

    def backward(self, grad_y: ArrayLike) -> None:
        """Set the gradient of the table.

        Parameters
        ----------
        grad_y : array_like
            ``dL/dy``, of the shape of y.

        Raises
        ------
        TypeError, ValueError
            Before the first `forward`, or for shapes or dtypes that do not fit. For a second
            backward after several forwards: only the last forward is remembered.
        """
        if self._cache is None:
            raise ValueError(
                "Embedding.backward: there is no y to go back from: call forward(ids) first"
            )
        self._go_back("Embedding.backward")
        self.grad_table = embedding_backward(grad_y, self._cache).table

    def __getstate__(self) -> dict[str, Any]:
        # Pickles and copies leave out the last forward.
        last = {"_cache", "_waiting", "_once"}
        return {k: v for k, v in self.__dict__.items() if k not in last}
