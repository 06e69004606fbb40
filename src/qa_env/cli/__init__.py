"""The `qa-env` command, for people with AWS credentials (`docs/cli.md`). No function of the template has it.

`main` knows the commands: one module each, with `HELP`, `configure` (its arguments) and `run`. `installation`
finds what they work on, `output` is all that they say, `ended` how they end.
"""
