r"""`qahm completion`: what lets a shell complete commands, options, configurations and runs."""

from __future__ import annotations

__all__ = ["SCRIPTS", "parser", "run"]

from typing import TYPE_CHECKING

from qahm_torch.cli.mistakes import UsageError, hint
from qahm_torch.cli.tab import words

if TYPE_CHECKING:
    from qahm_torch.cli.arguments import Parser

# Each asks `qahm completion --words` what the word under the cursor may become. Where nothing is
# known it may be a file, which the shell knows best.
_BASH = r"""_qahm() {
    local word about
    COMPREPLY=()
    while IFS=$'\t' read -r word about; do
        printf -v word %q "$word"
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]/#\~/$HOME}" completion --words -- \
        "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _qahm qahm
"""
_ZSH = r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_qahm() {
    local -a offered
    offered=("${(@f)$(${~${(Q)words[1]}} completion --words -- \
        "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $offered[1] ]]; then
        # A colon divides a word from what is told of it.
        offered=("${(@)offered//:/\\:}")
        offered=("${(@)offered/$'\t'/:}")
        _describe qahm offered
    else
        _files
    fi
}
compdef _qahm qahm
"""
_FISH = r"""function __qahm_words
    set -l begun (commandline -ct)
    set -l typed (commandline -opc) "$begun"
    set -l offered ($typed[1] completion --words -- $typed[2..] 2>/dev/null)
    if test (count $offered) -gt 0
        printf '%s\n' $offered
    else
        __fish_complete_path "$begun"
    end
end
complete -c qahm -f -a '(__qahm_words)'
"""
_ASKED = ["--words", "--"]
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def parser() -> Parser:
    r"""Returns the parser of the command."""
    # Only here, because at a tab there is no time for it.
    from qahm_torch.cli.arguments import Parser

    parser = Parser(
        prog="qahm completion",
        description="Prints what lets a shell complete commands, options, configurations and runs "
        'by the tab key: for bash, `eval "$(qahm completion bash)"` in ~/.bashrc; for zsh, '
        '`eval "$(qahm completion zsh)"` in ~/.zshrc; for fish, `qahm completion fish | source` '
        "in ~/.config/fish/config.fish.",
    )
    parser.add_argument("shell", type=str, help=f"One of {', '.join(SCRIPTS)}.")
    parser.offers["shell"] = lambda _: SCRIPTS
    return parser


def run(arguments: list[str]) -> None:
    r"""Prints the script of a shell, or answers what one of them asks."""
    if arguments[:2] == _ASKED:
        for word, about in words(arguments[2:]):
            print(f"{word}\t{about}" if about else word)
        return
    shell = parser().parse_args(arguments).shell
    if shell not in SCRIPTS:
        raise UsageError(
            f"shell is {shell}, but it is one of {', '.join(SCRIPTS)}{hint(shell, SCRIPTS)}"
        )
    print(SCRIPTS[shell], end="")
