"""The configuration: ``config.yaml`` with presets laid over it, validated before anything runs.

Each figure has a section. The runs that follow from it have readable ids and are the records that all
later steps read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, create_model

from weightsharing.errors import ConfigError, FileError
from weightsharing.figures.registry import FIGURES
from weightsharing.figures.sections import RunBuilder
from weightsharing.model.record import Number, Record, explain, listed, missing, shortened
from weightsharing.sampling.run import Device, Run
from weightsharing.strict_yaml import StrictError, parse
from weightsharing.studies import section
from weightsharing.studies.section import Study
from weightsharing.theory.scan import Transition

# A file that lacks more keys is a preset.
MOST_MISSING = 10


# Of a preset or a study, and of a folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")]


class Config(Record):
    """The whole configuration. studies: those of a user's own, by their names."""

    preset: Name
    seed: Annotated[int, Field(ge=0, le=2**32 - 1), Number]
    device: Device
    studies: dict[Name, Study] = Field(default_factory=dict)

    def section(self, figure: str) -> Record:
        """The section of a figure, such as "fig4", of the type ``Section`` of figures/fig4/config.py."""
        section: Record = getattr(self, figure)
        return section


@cache
def _with_sections(*names: str) -> type[Config]:
    """Config with a section for each of these figures.

    Each section type is named after its figure, because the JSON schema needs different names.
    """
    sections: dict[str, Any] = {
        name: create_model(
            f"Figure{FIGURES[name].number}",
            __base__=FIGURES[name].section,
            __doc__=FIGURES[name].section.__doc__,
        )
        for name in names
    }
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, **sections)


_Complete = _with_sections(*FIGURES)


def schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    return _Complete.model_json_schema()


def validate(settings: dict[str, Any]) -> Config:
    """The configuration, if it is valid and all its runs are.

    Raises ConfigError with one line for each fault: the key, what it got, what is allowed.
    """
    try:
        config = _Complete.model_validate_json(_json(settings))
    except ValidationError as error:
        if missing(error) > MOST_MISSING:
            raise ConfigError(
                f"lacks {missing(error)} keys; a preset is laid over the whole configuration: "
                "name config.yaml first"
            ) from error
        raise ConfigError("\n".join(explain(error))) from error
    runs(config)
    study_runs(config)
    return config


def _json(settings: dict[str, Any]) -> str:
    """The settings as JSON. Raises ConfigError where YAML has something that JSON has not."""
    try:
        return json.dumps(settings, default=str)
    except RecursionError as error:
        raise ConfigError("configuration: nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"configuration: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """The content of one configuration file. Raises FileError, ConfigError, naming the file.

    Snakemake reads its configuration files itself, and less strictly: it also calls this function.
    """
    try:
        content = parse(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error.reason}") from error
    except StrictError as error:
        raise ConfigError(*listed([f"{path}: {error}"])) from error
    if content is None:
        raise ConfigError(f"{path}: is empty, want a mapping of keys to values")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {shortened(content)}, want a mapping of keys to values")
    return content


def load(paths: list[Path]) -> Config:
    """The configuration in files, each laid over the ones before it. Raises FileError, ConfigError."""
    settings: dict[str, Any] = {}
    for path in paths:
        settings = overlay(settings, read(path))
    return validate(settings)


def part(config: Config, *figures: str) -> Config:
    """The configuration with the sections of these figures alone: all that their results depend on.

    Raises ConfigError if a section is missing.
    """
    missing = [name for name in figures if name not in type(config).model_fields]
    if missing:
        raise ConfigError("\n".join(f"{name}: missing" for name in missing))
    names = [name for name in Config.model_fields if name != "studies"]
    return _with_sections(*figures).model_construct(
        **{name: getattr(config, name) for name in (*names, *figures)}
    )


def study_part(config: Config, study: str) -> Config:
    """The configuration with one study alone, its task's file sealed by its hash.

    Raises ConfigError if the study is missing, FileError if the file cannot be read or has changed.
    """
    if study not in config.studies:
        known = ", ".join(config.studies) or "none in this configuration"
        raise ConfigError(f"study: got {shortened(study)}, must be one of {known}")
    return part(config).model_copy(update={"studies": {study: config.studies[study].sealed()}})


def given(words: Sequence[str | Path]) -> Config:
    """The configuration on a command line: paths, laid over each other, or a ``part`` as JSON.

    Raises FileError or ConfigError.
    """
    text = str(words[0])
    if len(words) == 1 and text.startswith("{"):
        try:
            figures = [name for name in FIGURES if f'"{name}"' in text]
            return _with_sections(*figures).model_validate_json(text)
        except ValidationError as error:
            raise ConfigError("\n".join(explain(error))) from error
    return load([Path(word) for word in words])


def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both else value
    return merged


def figure_runs(config: Config, figure: str) -> list[Run | Transition]:
    """The runs and theory scans of one figure. Raises ConfigError naming the key behind a bad run."""
    build = RunBuilder(figure, config.seed, config.device)
    return FIGURES[figure].runs(config.section(figure), build)


def runs(config: Config) -> dict[str, Run | Transition]:
    """All runs of all figures by their ids. Raises ConfigError naming the key behind a bad run."""
    sections = [figure for figure in FIGURES if figure in type(config).model_fields]
    return {run.id: run for figure in sections for run in figure_runs(config, figure)}


def study_runs(config: Config) -> dict[str, Run]:
    """The runs of all studies by their ids. Raises ConfigError naming the key behind a bad run."""
    build = RunBuilder("studies", config.seed, config.device)
    every = config.studies.items()
    for name, study in every:
        section.refuse_impossible(name, study)
    return {run.id: run for name, study in every for run in section.runs(name, study, build)}


def theory_runs(runs: Mapping[str, Run | Transition]) -> dict[str, str]:
    """For each training run, the id of the run whose theory it shares: the first of the same key."""
    first: dict[str, str] = {}
    return {
        name: first.setdefault(run.theory_key, name)
        for name, run in runs.items()
        if isinstance(run, Run)
    }
