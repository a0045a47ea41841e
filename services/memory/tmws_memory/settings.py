"""Settings of the memory service."""

from __future__ import annotations

from pydantic import Field

from tmws_shared.settings import DatabaseSettings


class MemorySettings(DatabaseSettings):
    """What the memory service is told by its environment."""

    embedding_url: str = Field("http://127.0.0.1:8105", description="where the embedding service listens")
    memory_semantic_weight: float = Field(
        0.6, ge=0, le=1, description="share of meaning in a hybrid score; words get the rest"
    )
    memory_unspaced_semantic_weight: float = Field(
        0.15,
        ge=0,
        le=1,
        description="the same for queries in Chinese, Japanese, Korean or Thai, which the built-in model hardly reads",
    )
    memory_neighbour_weight: float = Field(
        0.5, ge=0, le=2, description="share of the better neighbour's score that a memory of the same session gets"
    )
    memory_importance_weight: float = Field(
        0.1, ge=0, le=1, description="most that importance moves a score, as a share of it"
    )
    memory_recency_weight: float = Field(
        0.05, ge=0, le=1, description="most that recency raises a score, as a share of it"
    )
    memory_recency_half_life_days: float = Field(30.0, gt=0, description="days after which recency counts half")
    memory_index_build_mb: int = Field(
        512, ge=64, le=65_536, description="memory that building a graph over a large collection's vectors may take"
    )
    memory_short_term_hours: float = Field(
        24.0, gt=0, le=87_600, description="hours a short-term memory lives by default"
    )
    memory_deleted_days: float = Field(30.0, ge=0, le=3650, description="days before a deleted memory is purged")
    memory_promote_uses: int = Field(
        3, ge=1, description="searches that must find a short-term memory to make it long-term"
    )
    memory_promote_importance: float = Field(
        0.7, ge=0, le=1, description="importance that makes a short-term memory long-term"
    )
