"""Completion of commands in bash, zsh and fish: stages, verbs, keys and their legal values.

The script that a shell loads asks `spatialprobe complete <words before the cursor>` on every press of the key; so it
fits the installed version, and the options that `task=` or `dataset=` select. Only declarations are looked at: no torch
is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from configs.cli import Config, RootConfig, Verb, Verbs
from configs.commands import PROGRAM, STAGES
from configs.errors import SpatialprobeError
from configs.files import artifact_root
from configs.names import alias_names, model_names
from configs.options import Option, option, options_of

SCRIPTS = {
    # bash splits words at `=` and offers only what follows it; the words are taken from the line itself.
    "bash": """\
_{program}() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" words word
    read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${{words[-1]}}"
    local IFS=$'\\n'
    COMPREPLY=($("${{words[0]}}" complete "${{words[@]:1}}" 2>/dev/null | cut -f 1))
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*=}}"}}"}}")
    fi
    if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace; fi
}}
complete -F _{program} {program}
""",
    "zsh": """\
#compdef {program}
_{program}() {{
    local -a lines keys others
    lines=("${{(@f)$("${{words[1]}}" complete "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    lines=("${{(@)lines%%$'\\t'*}}")
    keys=("${{(@M)lines:#*=}}")
    others=("${{(@)lines:#*=}}")
    compadd -S '' -- "${{(@)keys}}"
    compadd -- "${{(@)others}}"
}}
if [[ "${{funcstack[1]}}" == _{program} ]]; then _{program} "$@"; else compdef _{program} {program}; fi
""",
    "fish": """\
function __{program}_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete $words[2..] 2>/dev/null
end
complete -c {program} -f -a '(__{program}_complete)'
""",
}
"""What each shell loads."""


@dataclasses.dataclass(frozen=True)
class CompletionConfig(RootConfig):
    """Options of `completion`."""

    shell: str = option(help="which shell", choices=list(SCRIPTS))


def print_completion(config: CompletionConfig) -> None:
    """Print the script for one shell."""
    print(SCRIPTS[config.shell].format(program=PROGRAM), end="")


def candidates(words: Sequence[str], own: Verbs, stage_verbs: Callable[[str], Verbs]) -> list[str]:
    """Return what the last of some words may become, each with its meaning after a tab.

    Args:
        words: those after the program; the last one is unfinished and may be empty.
        own: commands of the program itself.
        stage_verbs: returns those of a stage.
    """
    *before, last = words or [""]
    if not before:
        found = [*STAGES.items(), *((verb.name, verb.help) for verb in own)]
        found += [("--help", "show all stages"), ("--version", "print the version")]
    elif len(before) == 1 and before[0] in STAGES:
        found = [(verb.name, verb.help) for verb in stage_verbs(before[0])]
    else:
        stage, verbs = (before[0], stage_verbs(before[0])) if before[0] in STAGES else ("", own)
        given = before[1:] if stage else before
        chosen = [verb for verb in verbs if given and verb.name == given[0]]
        found = [pair for verb in chosen for pair in _of_verb(verb, given[1:], last)]
    return ["\t".join(filter(None, pair)) for pair in found if pair[0].startswith(last)]


def _of_verb(verb: Verb[Config], given: Sequence[str], last: str) -> Iterator[tuple[str, str]]:
    overrides = dict(word.split("=", 1) for word in given if "=" in word)
    options = {item.key: item for item in _options(verb, overrides)}
    key, equals, value = last.partition("=")
    if equals:
        for each in _values(verb, key, options.get(key), overrides):
            several = value.rpartition(",")
            yield f"{key}={several[0]}{several[1]}{each}", ""
        return
    left = [word for word in verb.words if word not in overrides]
    plain = [word for word in given if "=" not in word and not word.startswith("-")]
    for word in left[len(plain) : len(plain) + 1]:
        for each in _values(verb, word, options.get(word), overrides):
            yield each, ""
    for name in dict.fromkeys([*verb.selects, *options]):
        if name not in overrides:
            yield f"{name}=", options[name].help if name in options else ""
    yield from (("--help", "list the keys"), ("--show", "print the resolved configuration only"))


def _options(verb: Verb[Config], overrides: dict[str, str]) -> list[Option]:
    """Return the options; where a key that decides about them is missing or unfinished, those for its first value."""
    firsts = {key: values()[0] for key, values in verb.selects.items()}
    for given in (overrides, {**firsts, **overrides}, firsts):
        try:
            return list(options_of(verb.layers(given).start))
        except SpatialprobeError:
            continue
    return []


def _values(verb: Verb[Config], key: str, item: Option | None, overrides: dict[str, str]) -> Sequence[str]:
    if key in verb.selects:
        return verb.selects[key]()
    if item is not None and item.choices:
        return item.choices
    if item is not None and (item.type is bool or bool in get_args(item.type)):
        return ("true", "false")
    if key in ("model", "models"):
        return sorted([*model_names(), *alias_names()])
    if key == "dataset":
        folder = artifact_root(overrides.get("root")) / "datasets"
        return sorted(path.name for path in folder.glob("*") if (path / "dataset.json").is_file())
    return ()
