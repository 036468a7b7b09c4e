# fish completion for procurify-token. What may come next is known by the command itself.

function __procurify_token_candidates
    set --local before (commandline --current-process --tokenize --cut-at-cursor)
    set --local word (commandline --current-token --cut-at-cursor)
    $before[1] complete fish "=$word" -- $before 2>/dev/null
end

complete --command procurify-token --no-files --keep-order --arguments '(__procurify_token_candidates)'
