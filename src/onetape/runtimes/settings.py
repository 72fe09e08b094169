"""`--set OPERATOR.SETTING=VALUE` and `--settings FILE`: a pipeline file with other settings.

    [LeadLag]            # settings.toml: a table an operator
    edge = 5             # whole numbers in the setting's unit
    max_age = "10ms"     # or text with one

What is said with --set goes before what the file says, and both before what the program says. They
are part of the code that a tape is made by: verify, debug and why take the same options.
"""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.engine.settings import with_settings
from onetape.records import OperatorError
from onetape.runtimes.code import code_at
from onetape.runtimes.load import load_pipeline


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPERATOR.SETTING=VALUE",
        help="another setting of an operator: LeadLag.edge=5, LeadLag.max_age=10ms; again for more",
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TOML with a table of settings an operator"
    )


def load_with_settings(args: argparse.Namespace) -> Pipeline:
    """The pipeline that the command line names, with the settings it gives."""
    pipeline = apply(load_pipeline(args.pipeline), args)
    pipeline.code = code_at(args.pipeline, given_by(args))
    return pipeline


def given_by(args: argparse.Namespace) -> dict[str, Any]:
    """All settings of a command line; what is said with --set goes before what the file says."""
    from_file = read_settings(args.settings) if args.settings is not None else {}
    return from_file | dict(_parsed(text) for text in args.set)


def apply(pipeline: Pipeline, args: argparse.Namespace) -> Pipeline:
    """The pipeline with the settings that a command line gives; OperatorError says from where."""
    if args.settings is not None:
        try:
            pipeline = with_settings(pipeline, read_settings(args.settings))
        except OperatorError as error:
            raise OperatorError(f"{args.settings}: {error}") from None
    return with_settings(pipeline, dict(_parsed(text) for text in args.set))


def read_settings(path: Path) -> dict[str, Any]:
    """{"Operator.setting": value} of a TOML file."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperatorError(f"this is not TOML: {error}") from None
    except OSError as error:
        raise OperatorError(f"it cannot be read: {error.strerror}") from None
    for operator, table in tables.items():
        if not isinstance(table, dict):
            raise OperatorError(
                f"{operator} = {table!r} stands outside of a table; write [OPERATOR] above it"
            )
    return {f"{op}.{name}": value for op, table in tables.items() for name, value in table.items()}


def _parsed(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise OperatorError(f"--set was {text!r}; expected OPERATOR.SETTING=VALUE (LeadLag.edge=5)")
    return path.strip(), value.strip()
