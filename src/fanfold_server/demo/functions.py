"""The functions that the demo stores: our own text, to the documented behaviour."""

from typing import Final

COMPUTE_RANDOM_MEAN: Final = """\
def compute_random_mean(index):
    import numpy as np
    np.random.seed(index)
    return float((np.random.random((100, 1)) * 10)[1, 0])
"""

TEST_SEABORN_IDX: Final = """\
def test_seaborn_idx(i):
    import matplotlib.pyplot as plt
    import numpy as np
    import seaborn as sns
    sns.set_theme(style="whitegrid")
    np.random.seed(i)
    x = np.random.normal(size=300)
    y = x * (-1) ** i + np.random.normal(size=300)
    sns.kdeplot(x=x, y=y, fill=True, cmap="crest")
    sns.scatterplot(x=x, y=y, s=12, color="white")
    plt.title(f"Title {i}")
    return i
"""

RANDOM_RED_DOTS: Final = """\
def RandomRedDots(divisor=100):
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    ids = np.arange(1, 10)
    x, y = np.random.random((2, 100))
    size = 500 * np.random.random(100)
    plt.scatter(x, y, s=size, c="crimson", alpha=0.5)
    return pd.DataFrame({"id": ids, "val": ids / divisor})
"""

BOOTSTRAP: Final = """\
def mean_difference(index, rng, first, second):
    a = rng.choice(first, len(first))
    b = rng.choice(second, len(second))
    return a.mean() - b.mean()
"""
"""`rng` is a Generator that the server seeds from the run's seed and the index."""

PETALS: Final = """\
def petals(dat):
    from sklearn.linear_model import LinearRegression
    x, y = dat[["Petal_Length"]], dat["Petal_Width"]
    model = LinearRegression().fit(x, y)
    return {"rows": len(dat), "slope": model.coef_[0], "r2": model.score(x, y)}
"""

SOURCES: Final = {
    "compute_random_mean": COMPUTE_RANDOM_MEAN,
    "test_seaborn_idx": TEST_SEABORN_IDX,
    "RandomRedDots": RANDOM_RED_DOTS,
    "petals": PETALS,
    "mean_difference": BOOTSTRAP,
}
