"""Completion for bash, zsh and fish, made from the command's table."""

from libcontainer_py.cli.help import explained
from libcontainer_py.cli.table import COMMANDS, GLOBAL, Command, Flag

_MADE = "# Made by docs/generate.py from cli/table.py: change that, not this."
# These take an id that is to be new; every other one completes those that there are.
_NEW_ID = ("create", "run")
_SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH"
_NAMES = " ".join([*COMMANDS, "help"])


def _spellings(flags: "tuple[Flag, ...]") -> "list[str]":
    return [name for flag in flags for name in flag.names]


def _takes_id(command: Command) -> bool:
    return "<container-id>" in command.arguments and command.name not in _NEW_ID


# ── bash ────────────────────────────────────────────────────────────────────────────────────────


def bash() -> str:
    """A function for `complete -F`; it needs nothing of the bash-completion package."""
    kinds: dict[str, list[str]] = {}
    for command, flags in [("", GLOBAL), *((each.name, each.flags) for each in COMMANDS.values())]:
        for flag in flags:
            if flag.value:
                kinds.setdefault(flag.value, []).extend(f"{command}:{name}" for name in flag.names)
    expected = "\n".join(
        f"        {' | '.join(places)}) expected='{kind}' ;;" for kind, places in kinds.items()
    )
    flags_of = "\n".join(
        f"            {name}) words='{' '.join(_spellings(command.flags))}' ;;"
        for name, command in COMMANDS.items()
    )
    with_id = " | ".join(f"{name}:0" for name in COMMANDS if _takes_id(COMMANDS[name]))
    return f"""\
# bash completion for lcpy
{_MADE}

# What the value of a flag is: _lcpy_expected COMMAND FLAG sets `expected`.
_lcpy_expected() {{
    case $1:$2 in
{expected}
        *) expected= ;;
    esac
}}

_lcpy() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command='' expected='' flag='' root='' words=''
    local -i place given=0
    COMPREPLY=()
    # `--flag=value` is three words for bash.
    [[ $current != = ]] || current=
    for ((place = 1; place < COMP_CWORD; place++)); do
        local word=${{COMP_WORDS[place]}}
        if [[ $word == = ]]; then
            continue
        elif [[ -n $expected ]]; then
            [[ $flag != --root ]] || root=$word
            expected=
        elif [[ $word == -* && $given -eq 0 ]]; then
            flag=$word
            _lcpy_expected "$command" "$word"
        elif [[ -z $command ]]; then
            command=$word
        else
            given+=1
        fi
    done
    case $expected in
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        *'|'*) words=${{expected//'|'/ }} ;;
        ?*) return ;;
    esac
    if [[ -n $words ]]; then
        :
    elif [[ $current == -* && $given -eq 0 ]]; then
        case $command in
            '') words='{" ".join(_spellings(GLOBAL))}' ;;
{flags_of}
        esac
    else
        case $command:$given in
            :0) words='{_NAMES}' ;;
            help:0) words='{" ".join(COMMANDS)}' ;;
            {with_id})
                words=$("${{COMP_WORDS[0]}}" ${{root:+--root "$root"}} list --quiet 2>/dev/null)
                ;;
            kill:1) words='{_SIGNALS}' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}

complete -F _lcpy lcpy
"""


# ── zsh ─────────────────────────────────────────────────────────────────────────────────────────


def zsh() -> str:
    """A file for zsh's $fpath."""
    named = "\n".join(
        f"        {_quoted(f'{name}:{command.help}')}" for name, command in COMMANDS.items()
    )
    cases = "\n".join(
        f"        {name})\n            _arguments -S {_zsh_list(command.flags, 16)}"
        f"{_zsh_arguments(command)}\n            ;;"
        for name, command in COMMANDS.items()
    )
    return f"""\
#compdef lcpy
# zsh completion for lcpy
{_MADE}

_lcpy_commands() {{
    local -a commands=(
{named}
        'help:show the help of a command'
    )
    _describe -t commands 'lcpy command' commands
}}

_lcpy_containers() {{
    local -a containers
    containers=(${{(f)"$(lcpy $root list --quiet 2>/dev/null)"}})
    _wanted containers expl 'container' compadd -a containers
}}

_lcpy() {{
    local curcontext=$curcontext state line expl
    local -a root
    local -A opt_args
    _arguments -C -S {_zsh_list(GLOBAL, 8)} \\
        '1:command:_lcpy_commands' \\
        '*::argument:->arguments' && return
    [[ $state == arguments ]] || return
    (( ! ${{+opt_args[--root]}} )) || root=(--root ${{(Q)opt_args[--root]}})
    case $words[1] in
{cases}
        help)
            _arguments '1:command:_lcpy_commands'
            ;;
    esac
}}

_lcpy "$@"
"""


def _zsh_list(flags: "tuple[Flag, ...]", indent: int) -> str:
    return "".join(f" \\\n{' ' * indent}{_zsh_flag(flag)}" for flag in flags).lstrip()


def _zsh_flag(flag: Flag) -> str:
    names = ",".join(f"{name}{'=' if flag.value and name[1] == '-' else ''}" for name in flag.names)
    text = "[" + _escaped(explained(flag), "[]:\\") + "]"
    if flag.value:
        text += f":{flag.value.replace('|', ' or ')}:{_zsh_value(flag.value)}"
    if len(flag.names) == 1:
        return _quoted(names + text)
    return f"'({' '.join(flag.names)})'{{{names}}}{_quoted(text)}"


def _zsh_value(value: str) -> str:
    if "|" in value:
        return f"({value.replace('|', ' ')})"
    return {"file": "_files", "directory": "_files -/"}.get(value, "")


def _zsh_arguments(command: Command) -> str:
    arguments = []
    if _takes_id(command):
        arguments.append("'1:container:_lcpy_containers'")
    elif command.arguments:
        arguments.append("'1:new container id:'")
    if "[signal]" in command.arguments:
        arguments.append(f"'2:signal:({_SIGNALS})'")
    return "".join(f" \\\n                {argument}" for argument in arguments)


# ── fish ────────────────────────────────────────────────────────────────────────────────────────


def fish() -> str:
    """A file for fish's completions directory."""
    lines = [
        "# fish completion for lcpy",
        _MADE,
        "",
        "function __lcpy_containers",
        "    set -l words (commandline -opc)",
        "    set -l root",
        "    if set -l place (contains -i -- --root $words)",
        "        set root --root $words[(math $place + 1)]",
        "    end",
        "    command lcpy $root list --quiet 2>/dev/null",
        "end",
        "",
        "function __lcpy_after --argument-names command",
        "    set -l words (commandline -opc)",
        '    string match -qr -- "^(-.*|$command)\\$" $words[-1]',
        "end",
        "",
        "function __lcpy_no_command",
        f"    not __fish_seen_subcommand_from {_NAMES}",
        "end",
        "",
        "complete -c lcpy -f",
    ]
    none_yet = "__lcpy_no_command"
    lines += [_fish_flag(flag, none_yet) for flag in GLOBAL]
    for name, command in COMMANDS.items():
        lines.append(f"complete -c lcpy -n '{none_yet}' -a {name} -d {_quoted(command.help)}")
    lines.append(f"complete -c lcpy -n '{none_yet}' -a help -d 'show the help of a command'")
    for name, command in COMMANDS.items():
        lines.append("")
        seen = f"__fish_seen_subcommand_from {name}"
        lines += [_fish_flag(flag, seen) for flag in command.flags]
        # The id comes directly behind the command or its flags, a signal behind the id.
        if _takes_id(command):
            first = f"{seen}; and __lcpy_after {name}"
            lines.append(f"complete -c lcpy -n '{first}' -a '(__lcpy_containers)'")
        if "[signal]" in command.arguments:
            second = f"{seen}; and not __lcpy_after {name}"
            lines.append(f"complete -c lcpy -n '{second}' -a '{_SIGNALS}' -d signal")
    lines.append("")
    lines.append(
        f"complete -c lcpy -n '__fish_seen_subcommand_from help' -a '{' '.join(COMMANDS)}'"
    )
    return "\n".join(lines) + "\n"


def _fish_flag(flag: Flag, condition: str) -> str:
    text = f"complete -c lcpy -n '{condition}'"
    for name in flag.names:
        text += f" -l {name[2:]}" if name[1] == "-" else f" -s {name[1:]}"
    if flag.value == "file":
        text += " -r -F"
    elif flag.value == "directory":
        text += " -x -a '(__fish_complete_directories)'"
    elif flag.value:
        text += " -x"
        if "|" in flag.value:
            text += f" -a '{flag.value.replace('|', ' ')}'"
    return f"{text} -d {_quoted(explained(flag))}"


# ── both ────────────────────────────────────────────────────────────────────────────────────────


def _escaped(text: str, characters: str) -> str:
    return "".join(f"\\{char}" if char in characters else char for char in text)


def _quoted(text: str) -> str:
    """In single quotes, as zsh and fish both read them."""
    return "'" + text.replace("'", "'\\''") + "'"
