"""What would not work, found before a developer does: `qa-env doctor` (docs/doctor.md lists the checks).

A check is a function that yields findings about one blueprint, or about the installation as a whole; each
module holds those of one subject, `checks` names them all and runs them. A check only reads, with two
exceptions that docs/doctor.md names: a ping is sent to the webhook, and GitHub is asked for two writes that
it cannot carry out, because it tells in no other way what a token may do.
"""
