"""Reading what an environment is to be made from: files that others write, or a list of words.

Nothing is fetched here and no file is opened: texts in, a `Recipe` or a refusal that names the line
out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import yaml

from fanfold_server.model.environment import Maker, Recipe
from fanfold_server.model.errors import InvalidEnvironment

ENVIRONMENT_YML = "environment.yml"
REQUIREMENTS_TXT = "requirements.txt"
PYPROJECT_TOML = "pyproject.toml"
FORMATS = (ENVIRONMENT_YML, REQUIREMENTS_TXT, PYPROJECT_TOML)

DEFAULT_CHANNEL = "conda-forge"
REVIEWED_CHANNELS = (DEFAULT_CHANNEL, "bioconda")
"""What is published there, others have looked at; any name may be taken by anybody."""

_OPTIONS = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
}
_FLAGS = ("--no-index", "--pre")
_PYTHON = re.compile(r"python\s*(==|=|>=)?\s*(\d+\.\d+(?:\.\d+)?)?(?:\.\*)?")
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[\w\s,.-]*\])?\s*\(?\s*([<>=!~][\w\s.,*+!<>=~-]*)?\)?\s*(;.*)?"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def format_of(file_name: str) -> str:
    """Tell from a file's name how it is written.

    Raises:
        InvalidEnvironment: its name does not say it.
    """
    name = file_name.rpartition("/")[2].lower()
    if name.endswith((".yml", ".yaml")):
        return ENVIRONMENT_YML
    if name.endswith((".txt", ".in")):
        return REQUIREMENTS_TXT
    if name.endswith(".toml"):
        return PYPROJECT_TOML
    raise InvalidEnvironment(
        f'"{file_name}" does not say how it is written: it should end in .yml, .txt or .toml.',
        field="spec",
    )


def read_recipe(text: str, form: str, *, maker: Maker | None = None) -> Recipe:
    """Read a file's text.

    Args:
        form: one of FORMATS.
        maker: what is to make it; None: rattler for an environment.yml, uv for the others.

    Raises:
        InvalidEnvironment: names the member or the line, and what would be right.
    """
    if form == ENVIRONMENT_YML:
        recipe = _environment_yml(text)
    elif form == REQUIREMENTS_TXT:
        recipe = _requirements_txt(text)
    elif form == PYPROJECT_TOML:
        recipe = _pyproject_toml(text)
    else:
        raise InvalidEnvironment(
            f'The member "format" is "{form}"; it has to be one of {", ".join(FORMATS)}.',
            field="format",
        )
    return _made_by(recipe, maker)


def recipe_of(
    words: Iterable[str], *, channels: Iterable[str] = (), maker: Maker | None = None
) -> Recipe:
    """Make a recipe of a list of packages; `python=3.11` among them says which Python.

    With channels, or with a maker other than uv, they are conda's packages.

    Raises:
        InvalidEnvironment: a word is no package.
    """
    wanted = tuple(word.strip() for word in words if word.strip())
    channels = tuple(channels)
    if channels or maker not in {None, Maker.UV}:
        recipe = Recipe(
            kind="conda",
            maker=maker or Maker.RATTLER,
            channels=channels or (DEFAULT_CHANNEL,),
            packages=wanted,
        )
        return _made_by(recipe, maker)
    pythons = [found for word in wanted if (found := _PYTHON.fullmatch(word))]
    others = tuple(word for word in wanted if not _PYTHON.fullmatch(word))
    for word in others:
        if word.startswith("-"):
            raise InvalidEnvironment(f'"{word}" is no package.', field="packages")
    python = _python_of(pythons[-1]) if pythons else None
    return Recipe(kind="venv", maker=Maker.UV, python=python, requirements=others)


def refuse_beyond_names(recipe: Recipe) -> None:
    """Refuse whatever is more than names and versions: paths, addresses, options.

    And channels that anybody may publish in: the interpreter that compiles the packages comes from
    there, and it does so with the server's rights.

    Raises:
        InvalidEnvironment: names it.
    """
    foreign = [channel for channel in recipe.channels if channel not in REVIEWED_CHANNELS]
    if foreign:
        raise InvalidEnvironment(
            f'"{foreign[0]}": the channels may be {" and ".join(REVIEWED_CHANNELS)}; an '
            "administrator may give others.",
            field="channels",
        )
    strange = [
        *recipe.options,
        *(word for word in recipe.requirements if not _REQUIREMENT.fullmatch(word)),
        *(word for word in recipe.packages if "/" in word or "::" in word),
    ]
    if strange:
        raise InvalidEnvironment(
            f'"{strange[0]}": only names of packages, with versions, may stand here; '
            "an administrator may give addresses and options.",
            field="spec",
        )


def _made_by(recipe: Recipe, maker: Maker | None) -> Recipe:
    if maker is None:
        return recipe
    if (recipe.kind == "conda") is (maker is Maker.UV):
        raise InvalidEnvironment(
            f"{maker} makes no {recipe.kind} environment: uv makes virtual environments, "
            "the others make conda's.",
            field="maker",
        )
    return replace(recipe, maker=maker)


def _python_of(found: re.Match[str]) -> str | None:
    relation, version = found.groups()
    if version is None:
        return None
    return f">={version}" if relation == ">=" else str(version)


# ------------------------------------------------------------------ environment.yml


def _yaml(text: str) -> Mapping[str, object]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise InvalidEnvironment(f"The text is not YAML: {exc}", field="spec") from exc
    if not isinstance(document, dict):
        raise InvalidEnvironment(
            "An environment.yml is a mapping with the members name, channels and dependencies.",
            field="spec",
        )
    return document


def _environment_yml(text: str) -> Recipe:
    document = _yaml(text)
    known = {"name", "channels", "dependencies", "variables", "prefix"}
    unknown = sorted(str(key) for key in document if key not in known)
    if unknown:
        raise InvalidEnvironment(
            f'An environment.yml has no member "{unknown[0]}"; it may have '
            f"{', '.join(sorted(known))}.",
            field=unknown[0],
        )
    packages: list[str] = []
    requirements: list[str] = []
    options: list[str] = []
    for entry in _list(document, "dependencies"):
        if isinstance(entry, str):
            packages.append(entry)
        elif isinstance(entry, dict) and set(entry) == {"pip"} and isinstance(entry["pip"], list):
            more, lines = _lines("\n".join(str(line) for line in entry["pip"]))
            options += more
            requirements += lines
        else:
            raise InvalidEnvironment(
                f"The dependency {entry!r} should be text, or a mapping with the one member pip, "
                "a list.",
                field="dependencies",
            )
    channels = []
    for channel in _list(document, "channels"):
        if not isinstance(channel, str):
            raise InvalidEnvironment(f"The channel {channel!r} should be text.", field="channels")
        if channel != "nodefaults":
            channels.append(channel)
    return Recipe(
        kind="conda",
        maker=Maker.RATTLER,
        channels=tuple(channels) or (DEFAULT_CHANNEL,),
        # pip is asked for where there is a section for it, and not needed: uv does its work.
        packages=tuple(packages),
        requirements=tuple(requirements),
        options=tuple(options),
        variables=_variables(document.get("variables")),
    )


def _list(document: Mapping[str, object], name: str) -> list[object]:
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidEnvironment(f'The member "{name}" should be a list.', field=name)
    return value


def _variables(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidEnvironment('The member "variables" should be a mapping.', field="variables")
    for name, text in value.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise InvalidEnvironment(f"{name!r} cannot be a variable's name.", field="variables")
        if not isinstance(text, str | int | float) or "\0" in str(text):
            raise InvalidEnvironment(
                f'The variable "{name}" should be text or a number.', field="variables"
            )
    return {name: str(text) for name, text in value.items()}


# ------------------------------------------------------------------ requirements, pyproject


def _requirements_txt(text: str) -> Recipe:
    options, requirements = _lines(text)
    return Recipe(
        kind="venv", maker=Maker.UV, requirements=tuple(requirements), options=tuple(options)
    )


def _lines(text: str) -> tuple[list[str], list[str]]:
    """Take options and requirements apart."""
    options: list[str] = []
    requirements: list[str] = []
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not bare:
            continue
        if not bare.startswith("-"):
            requirements.append(re.sub(r"\s+--hash[ =]\S+", "", bare))
            continue
        word, _, value = bare.replace("=", " ", 1).partition(" ")
        if word in _OPTIONS and value.strip():
            options.append(f"{_OPTIONS[word]} {value.strip()}")
        elif bare in _FLAGS:
            options.append(bare)
        else:
            raise InvalidEnvironment(
                f'Line {number}, "{bare}", cannot stand here: packages, and the options '
                f"{', '.join([*sorted(set(_OPTIONS.values())), *_FLAGS])}.",
                field="spec",
            )
    return options, requirements


def _pyproject_toml(text: str) -> Recipe:
    try:
        project = tomllib.loads(text).get("project")
    except tomllib.TOMLDecodeError as exc:
        raise InvalidEnvironment(f"The text is not TOML: {exc}", field="spec") from exc
    if not isinstance(project, dict):
        raise InvalidEnvironment("The pyproject.toml has no table [project].", field="project")
    wanted = project.get("dependencies", [])
    if not isinstance(wanted, list) or not all(isinstance(word, str) for word in wanted):
        raise InvalidEnvironment(
            "project.dependencies should be a list of texts.", field="dependencies"
        )
    asked = project.get("requires-python")
    found = re.search(r"(>=|==|~=)\s*(\d+\.\d+(?:\.\d+)?)", asked) if asked else None
    python = None
    if found:
        python = f">={found[2]}" if found[1] == ">=" else found[2]
    return Recipe(kind="venv", maker=Maker.UV, python=python, requirements=tuple(wanted))
