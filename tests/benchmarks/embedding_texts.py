"""The texts that the embedding programs measure with."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

QUERY = "When did Melanie sign up for the pottery class?"
MIXED = 400
# Two thirds sentences, one third abstracts: 65.6 tokens on average.
SENTENCES = 273


def mixed_texts(data: Path) -> list[str]:
    """Return 400 texts, short and long, in a fixed random order; made-up ones where the data is absent."""
    stsb, cranfield = data / "stsb" / "en-test.csv", data / "cranfield" / "corpus.jsonl"
    if stsb.is_file() and cranfield.is_file():
        short = [row[0] for row in csv.reader(stsb.open(encoding="utf-8", newline=""))][:SENTENCES]
        long = [json.loads(line)["text"] for line in cranfield.open(encoding="utf-8")][: MIXED - SENTENCES]
    else:
        print("made-up texts are used: stsb or cranfield is absent")
        short = [f"note {number} says what an agent was told today" for number in range(SENTENCES)]
        long = [f"note {number} " + "agents remember what they were told " * 25 for number in range(MIXED - SENTENCES)]
    texts = short + long
    random.Random(7).shuffle(texts)  # noqa: S311 -- an order, not a secret
    return texts
