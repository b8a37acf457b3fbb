"""Writes the notebook that the Kernel Gateway serves; the argument is the file."""

import json
import sys
from pathlib import Path

from bench.functions import sources

ONE = """# POST /one
asked = json.loads(REQUEST)["body"]
print(json.dumps({"result": [globals()[asked["fn"]](asked["i"])]}))"""

FAN = """# POST /fan
asked = json.loads(REQUEST)["body"]
function = globals()[asked["fn"]]
print(json.dumps({"result": [function(i) for i in range(1, asked["n"] + 1)]}))"""


def cell(number, source):
    return {
        "cell_type": "code", "execution_count": None, "id": f"c{number}", "metadata": {},
        "outputs": [], "source": source,
    }  # fmt: skip


if __name__ == "__main__":
    texts = ["import json\n\n" + "\n\n".join(sources().values()), ONE, FAN]
    notebook = {
        "cells": [cell(number, text) for number, text in enumerate(texts)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    Path(sys.argv[1]).write_text(json.dumps(notebook), encoding="utf-8")
