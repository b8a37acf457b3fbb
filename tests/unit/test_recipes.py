"""What environments are made from: files of others, and lists."""

from __future__ import annotations

import pytest

from fanfold_server.model.environment import Maker, Recipe
from fanfold_server.model.errors import InvalidEnvironment
from fanfold_server.service.recipes import (
    ENVIRONMENT_YML,
    PYPROJECT_TOML,
    REQUIREMENTS_TXT,
    format_of,
    read_recipe,
    recipe_of,
    refuse_beyond_names,
)

YML = """
name: seaborn
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.12
  - seaborn >=0.13
  - pip
  - pip:
      - --index-url https://example.org/simple
      - tabulate==0.9  # for reports
variables:
  DEPTH: 3
prefix: /opt/env
"""


def test_an_environment_yml_is_read_whole() -> None:
    assert read_recipe(YML, ENVIRONMENT_YML) == Recipe(
        kind="conda",
        maker=Maker.RATTLER,
        channels=("conda-forge",),
        packages=("python=3.12", "seaborn >=0.13", "pip"),
        requirements=("tabulate==0.9",),
        options=("--index-url https://example.org/simple",),
        variables={"DEPTH": "3"},
    )


def test_a_requirements_txt_is_read_with_its_options_and_without_its_hashes() -> None:
    text = """
# what the lab needs
-i https://example.org/simple
--find-links=/wheels
numpy>=2 ; python_version > "3.9" \\
    --hash=sha256:00
palette @ https://example.org/palette.whl#sha256=00
--pre
"""
    found = read_recipe(text, REQUIREMENTS_TXT)
    assert (found.kind, found.maker) == ("venv", Maker.UV)
    assert found.options == (
        "--index-url https://example.org/simple",
        "--find-links /wheels",
        "--pre",
    )
    assert found.requirements == (
        'numpy>=2 ; python_version > "3.9"',
        "palette @ https://example.org/palette.whl#sha256=00",
    )


@pytest.mark.parametrize(
    ("asked", "python"),
    [(">=3.10", ">=3.10"), ("==3.11.*", "3.11"), ("~=3.12", "3.12"), (">=3.9,<3.14", ">=3.9")],
)
def test_a_pyproject_toml_says_python_and_packages(asked: str, python: str) -> None:
    text = f'[project]\nname = "x"\nrequires-python = "{asked}"\ndependencies = ["six"]\n'
    found = read_recipe(text, PYPROJECT_TOML)
    assert (found.python, found.requirements) == (python, ("six",))


def test_a_list_is_of_wheels_or_with_channels_of_conda() -> None:
    found = recipe_of(["python=3.11", "six"])
    assert (found.kind, found.python, found.requirements) == ("venv", "3.11", ("six",))
    assert recipe_of(["python>=3.10"]).python == ">=3.10"
    conda = recipe_of(["python=3.11", "six"], channels=["lab"])
    assert (conda.kind, conda.packages) == ("conda", ("python=3.11", "six"))
    assert recipe_of(["six"], maker=Maker.MICROMAMBA).channels == ("conda-forge",)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("- a\n- b", ENVIRONMENT_YML, "mapping"),
        ("a: [", ENVIRONMENT_YML, "not YAML"),
        ("depends: [six]", ENVIRONMENT_YML, '"depends"'),
        ("dependencies: six", ENVIRONMENT_YML, '"dependencies" should be a list'),
        ("dependencies: [{conda: [a]}]", ENVIRONMENT_YML, "pip"),
        ("channels: [3]", ENVIRONMENT_YML, "channel 3"),
        ("variables: {a b: c}", ENVIRONMENT_YML, "'a b'"),
        ("variables: {a: [c]}", ENVIRONMENT_YML, '"a"'),
        ("variables: 3", ENVIRONMENT_YML, "mapping"),
        ("six\n-r other.txt", REQUIREMENTS_TXT, "Line 2"),
        ("-e .", REQUIREMENTS_TXT, "-e"),
        ("[tool.x]", PYPROJECT_TOML, "[project]"),
        ("[", PYPROJECT_TOML, "not TOML"),
        ("[project]\ndependencies = 3", PYPROJECT_TOML, "list of texts"),
        ("", "Pipfile", "environment.yml"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, form: str, said: str) -> None:
    with pytest.raises(InvalidEnvironment) as caught:
        read_recipe(text, form)
    assert said in caught.value.message


def test_a_maker_of_the_other_kind_is_refused() -> None:
    with pytest.raises(InvalidEnvironment, match="no conda environment"):
        read_recipe(YML, ENVIRONMENT_YML, maker=Maker.UV)
    with pytest.raises(InvalidEnvironment, match="no venv environment"):
        read_recipe("six", REQUIREMENTS_TXT, maker=Maker.MAMBA)
    assert read_recipe(YML, ENVIRONMENT_YML, maker=Maker.CONDA).maker is Maker.CONDA


def test_a_file_says_by_its_name_how_it_is_written() -> None:
    assert format_of("a/b.yaml") == ENVIRONMENT_YML
    assert format_of("dev-requirements.txt") == REQUIREMENTS_TXT
    assert format_of("pyproject.toml") == PYPROJECT_TOML
    with pytest.raises(InvalidEnvironment, match=r"\.yml"):
        format_of("Pipfile")


@pytest.mark.parametrize(
    "word",
    ["six @ https://x.org/a.whl", "./six", "/tmp/six.whl", "file:///six.whl", "git+https://x/y"],
)
def test_more_than_names_and_versions_is_for_administrators(word: str) -> None:
    refuse_beyond_names(
        recipe_of(["six", "numpy>=2,<3", 'six==1; python_version<"4"', "a[b, c]~=1.0"])
    )
    with pytest.raises(InvalidEnvironment, match="administrator"):
        refuse_beyond_names(recipe_of([word]))
    refuse_beyond_names(recipe_of(["six"], channels=["conda-forge", "bioconda"]))
    for channel in ("file:///channel", "somebody", "conda-forge/label/somebody"):
        with pytest.raises(InvalidEnvironment, match="administrator"):
            refuse_beyond_names(recipe_of(["six"], channels=["conda-forge", channel]))


def test_the_digest_tells_recipes_apart() -> None:
    one, same, other = recipe_of(["six"]), recipe_of([" six "]), recipe_of(["six<2"])
    assert one.digest == same.digest != other.digest
    with pytest.raises(InvalidEnvironment):
        recipe_of(["-r", "x"])
