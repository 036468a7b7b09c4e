# PowerShell completion for procurify-token. What may come next is known by the command itself.

Register-ArgumentCompleter -Native -CommandName procurify-token, procurify-token.exe -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    # The words that end before the cursor, as they stand there: nothing of what is typed is run.
    $before = @($commandAst.CommandElements |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object { if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value } else { $_.Extent.Text } })
    & $before[0] complete powershell "=$wordToComplete" '--' $before 2>$null | ForEach-Object {
        $word, $what = $_ -split "`t", 2
        if (-not $what) { $what = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $what)
    }
}
