"""`textseg3d completion`: a script by which a shell completes commands, options and prompts."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence

HELP = "Print a script that completes commands, options, their values and prompts in a shell."
PROMPT_OPTIONS = ("-p", "--prompt")
_BASH = """\
# Completion of textseg3d for bash. Made by `textseg3d completion bash`.
_textseg3d_words() {{
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    case "$word" in
      "$1"*) COMPREPLY+=("$(printf '%q' "$word")") ;;
    esac
  done
}}
_textseg3d() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="" option="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in
      -*) option="${{COMP_WORDS[i]}}" ;;
      *) [ -z "$command" ] && command="${{COMP_WORDS[i]}}" ;;
    esac
  done
  if [ -z "$command" ]; then
    _textseg3d_words "$word" <<< {commands}
    return
  fi
  if [ "${{word#-}}" != "$word" ]; then
    case "$command" in
{options}
    esac
    return
  fi
  case "$command $option" in
{values}
    *) COMPREPLY=() ;;
  esac
}}
complete -o default -F _textseg3d textseg3d
"""
_ZSH = """\
# Completion of textseg3d for zsh, by its imitation of bash. Made by `textseg3d completion zsh`.
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that reads the script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print((_ZSH if args.shell == "zsh" else "") + bash_script(), end="")
    return 0


def bash_script() -> str:
    """The script for bash: tables of all commands, made from their parsers."""
    from textseg3d.cli.main import COMMANDS
    from textseg3d.cli.parser import CommandParser, add_common_arguments

    options, values = [], []
    for name, command in COMMANDS.items():
        module = importlib.import_module(command.module)
        parser = CommandParser(prog=name)
        module.add_arguments(parser)
        add_common_arguments(parser)
        options.append(_case(name, parser.option_names()))
        for action in parser._actions:
            choices = [str(choice) for choice in action.choices or ()]
            if not action.option_strings and choices:
                values.append(_case(f"{name} ", choices))
            elif choices:
                values.append(
                    _case("|".join(f"{name} {o}" for o in action.option_strings), choices)
                )
        if name in ("predict", "bench"):
            pattern = "|".join(f"{name} {option}" for option in PROMPT_OPTIONS)
            values.append(_case(pattern, known_prompts()))
    return _BASH.format(
        commands=_quoted(list(COMMANDS)), options="\n".join(options), values="\n".join(values)
    )


def known_prompts() -> list[str]:
    """What the default model knows; nothing where there is no model."""
    from textseg3d.errors import TextSegError
    from textseg3d.zoo import ModelCard, default_model, find_model

    try:
        return list(ModelCard.read(find_model(default_model())).concepts)
    except TextSegError:
        return []


def _after(name: str, options: Sequence[str]) -> str:
    """The pattern of a command with one of its options before the cursor."""
    return "|".join(f"{name} {option}" for option in options)


def _case(pattern: str, words: list[str]) -> str:
    quoted = "|".join(shlex.quote(one) for one in pattern.split("|"))
    return f'    {quoted}) _textseg3d_words "$word" <<< {_quoted(words)} ;;'


def _quoted(words: list[str]) -> str:
    return shlex.quote("\n".join(words))
