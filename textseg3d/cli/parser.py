"""An argparse parser whose errors are one line with a did-you-mean, and the common options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from textseg3d.errors import UsageError
from textseg3d.suggest import did_you_mean

COMMON_FLAGS = {
    "--quiet": "print errors and results only",
    "--json-log": "log to standard error as one JSON object per line",
    "--debug": "log details, and print the traceback of an error",
}


class StoreOrGather(argparse._StoreAction):
    """argparse's "store", but an option of several values gathers them when it is given again.

    Plain argparse would keep the last ones: of `-p liver -p spleen` the liver got lost, silently.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Set the values, or add them to those that the same option was given before."""
        before = getattr(namespace, self.dest, None)
        if option_string and self.nargs in ("+", "*") and before is not self.default:
            values = [*(before or ()), *(values or ())]
        setattr(namespace, self.dest, values)


class CommandParser(argparse.ArgumentParser):
    """`ArgumentParser` without abbreviations; raises :class:`UsageError` instead of exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        for name in (None, "store"):
            self.register("action", name, StoreOrGather)

    def error(self, message: str) -> NoReturn:
        """Raise the parse error; the entry point prints it and returns exit code 2.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Parse all of ``argv``.

        Raises:
            UsageError: for unknown, missing or wrong arguments.
        """
        args, extra = self.parse_known_args(argv)
        if extra:
            hint = did_you_mean(extra[0].partition("=")[0], self.option_names())
            self.error(f"unknown argument {extra[0]!r}{hint}")
        return args

    def option_names(self) -> list[str]:
        """Every option string of this parser and of its sub-commands."""
        names: list[str] = []
        for action in self._actions:
            names.extend(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    names.extend(child.option_names())
        return names


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has; those that it already defines stay as they are."""
    known = {name for action in parser._actions for name in action.option_strings}
    group = parser.add_argument_group("common options")
    for flag, text in COMMON_FLAGS.items():
        if flag not in known:
            group.add_argument(flag, action="store_true", help=text)
