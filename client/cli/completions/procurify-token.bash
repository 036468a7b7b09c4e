# bash completion for procurify-token. What may come next is known by the command itself.
# shellcheck shell=bash

_procurify_token() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate}")
    done < <("$1" complete bash "=$2" -- "${COMP_WORDS[@]:0:COMP_CWORD}" 2>/dev/null)
    # A folder is no whole word yet. bash 3.2 has no compopt, and adds a space.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _procurify_token procurify-token
