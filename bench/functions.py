"""The stored functions, once: library peers import them, HTTP peers get their source text."""

# ruff: noqa: PLC0415 (a stored function brings its imports along)
# ruff: noqa: ARG001 (what is computed does not always depend on the index)

import ast
from pathlib import Path


def sq(i: int) -> int:
    return i * i


def burn(i: int) -> int:  # about 20 ms of pure Python: a fixed number of iterations
    s = i
    for _ in range(220_000):
        s = (s * 1103515245 + 12345) & 0x7FFFFFFF
    return s


def heavy_random_mean(i: int) -> float:  # about 0.5 ms of NumPy: stands for the next one
    import numpy as np

    return float(np.random.rand(100_000).mean() * 10)


def compute_random_mean(index: int) -> float:  # the documented example
    import numpy as np

    np.random.seed(index)
    return float((np.random.random((100, 1)) * 10)[1, 0])


def fig(i: int) -> str:  # draws, and encodes the picture itself
    import base64
    import io

    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    rng = np.random.default_rng(i)
    figure, axes = plt.subplots()
    axes.scatter(rng.random(200), rng.random(200))
    axes.set_title(f"Title {i}")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    plt.close(figure)
    return base64.b64encode(png.getvalue()).decode()


def fig_draw(i: int) -> int:  # draws; a server with graphicsFlag captures the open figure
    import matplotlib.pyplot as plt
    import numpy as np

    rng = np.random.default_rng(i)
    _, axes = plt.subplots()
    axes.scatter(rng.random(200), rng.random(200))
    axes.set_title(f"Title {i}")
    return i


def grp(df):  # type: ignore[no-untyped-def]  # a group or a chunk, with the columns k, x, y, z
    return {
        "k": int(df["k"].iloc[0]),
        "n": len(df),
        "mx": float(df["x"].mean()),
        "sy": float(df["y"].std()),
    }


def big(i: int):  # type: ignore[no-untyped-def]  # 100,000 rows of 10 columns, made once
    import numpy as np
    import pandas as pd

    kept = getattr(pd, "_kept", None)  # a run of ours has a fresh namespace
    if kept is None:
        rng = np.random.default_rng(7)
        n = 100_000
        columns = {f"f{k}": rng.random(n) for k in range(6)}
        columns["i0"] = rng.integers(0, 1000, n)
        columns["i1"] = np.arange(n)
        columns["s0"] = np.array(["alpha", "beta", "gamma", "delta"])[rng.integers(0, 4, n)]
        columns["s1"] = [f"row{k}" for k in range(n)]
        kept = pd._kept = pd.DataFrame(columns)  # noqa: SLF001
    return kept


def sources() -> dict[str, str]:
    """Return the source text of each function by its name."""
    text = Path(__file__).read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    named = {node.name: ast.get_source_segment(text, node) or "" for node in functions}
    del named["sources"]
    return named
