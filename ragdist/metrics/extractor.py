"""The interface of feature extractors: from samples to vectors that measures compare."""

from torch import Tensor


class Extractor:
    """A feature extractor. Figures of two kinds of features, or of two hashes, are never compared.

    Attributes:
        name: inception, classifier, pixels or laplacian.
        sha256: identifies the weights, or the formula where there are none.
        dim: length of a vector.
        resizing: what happens to an image first, in words.
        about: further facts for the protocol.
    """

    name: str
    sha256: str
    dim: int
    resizing: str
    about: dict

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map images uint8 [n, C, H, W] to features [n, dim] float32, and logits [n, K] where there are classes."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The name and the first digits of the hash."""
        return f"{self.name} {self.sha256[:8]}"
