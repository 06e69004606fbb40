"""IAM for the local stack: a call that is signed with a function's key is decided about as AWS would.

* `policy.py` decides about one request as IAM does;
* `needs.py` knows which requests IAM decides about for one API call;
* `reference.py` is AWS's own list of actions and resource types, against which `needs.py` is checked;
* `wire.py` reads an API call off an HTTP request;
* `guard.py` asks for the requests of a call, refuses what the role does not allow, and writes that down;
* `inside.py` puts a guard before every service of MiniStack, `outside.py` before the CodePipeline stand-in.

The first three are what `tests/test_privilege.py` proves the template's roles with.
"""
