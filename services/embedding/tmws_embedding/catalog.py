"""The models that are served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tmws_contracts.embedding import ServedModel, ServedModels
from tmws_embedding.artifacts import prepare_model
from tmws_embedding.errors import ModelNotServed
from tmws_embedding.model import Embedder
from tmws_embedding.settings import ModelChoice
from tmws_shared.settings import ConfigurationError


class Catalog:
    """Loaded models, the current one first; no two have both name and precision in common."""

    def __init__(self, embedders: Sequence[Embedder]) -> None:
        self._embedders = {(item.artifact.name, item.artifact.precision): item for item in embedders}
        self.current = embedders[0]

    @classmethod
    def load(cls, choices: Sequence[ModelChoice], dimension: int, data_dir: Path) -> Catalog:
        """Load the models, convert those that are not yet, and warm them up.

        Raises:
            ConfigurationError: there is no such model, or its vectors have another dimension than configured.
            ModelUnavailable: its files cannot be made or read.
        """
        embedders: list[Embedder] = []
        for index, choice in enumerate(choices):
            setting = "TMWS_EMBEDDING_ALSO" if index else "TMWS_EMBEDDING_MODEL"
            embedder = Embedder(prepare_model(choice.model, choice.precision, data_dir, setting=setting))
            if embedder.dimension != dimension:
                raise ConfigurationError(
                    [f"TMWS_VECTOR_DIMENSION must be {embedder.dimension}, the dimension of {embedder.artifact.name}"]
                )
            embedders.append(embedder)
        return cls(embedders)

    def __iter__(self) -> Iterator[Embedder]:
        return iter(self._embedders.values())

    def find(self, model: str | None, precision: str | None) -> Embedder:
        """Return the model of this name and precision, None meaning the current one or, of another model, the first.

        Raises:
            ModelNotServed: there is none.
        """
        name = model or self.current.artifact.name
        named = [item for item in self if item.artifact.name == name]
        if not named:
            raise ModelNotServed.of("/model", f"must be one of {self._listed()}")
        for embedder in named:
            if precision in {None, embedder.artifact.precision}:
                return embedder
        raise ModelNotServed.of("/precision", f"must be one of {self._listed()}")

    def listing(self) -> ServedModels:
        """Return what is served."""
        return ServedModels(
            models=[
                ServedModel(
                    model=item.artifact.name,
                    precision=item.artifact.precision,
                    dimension=item.dimension,
                    revision=item.artifact.revision,
                    is_current=item is self.current,
                )
                for item in self
            ]
        )

    def _listed(self) -> str:
        return ", ".join(f"{name} in {precision}" for name, precision in self._embedders)
