"""What each function does in AWS, against what its role in the expanded template allows.

* `template.py` reads the roles out of the template, with the parameters of an installation;
* `local/iam/` decides as IAM does: `policy.py` about a request, `needs.py` knows the requests of an API call,
  `reference.py` is AWS's own list of actions and resource types; the local stack enforces roles with them;
* `source.py` finds the API calls in the code, so that none is forgotten;
* `account.py` is a whole installation that runs the real handlers and records what each of them calls;
* `life.py` is all that happens to it, `rights.py` compares;
* `document.py` reads docs/permissions.md.
"""
