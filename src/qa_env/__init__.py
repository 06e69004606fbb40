"""qa-env: push `qa/foo` and get an environment like STG that runs the branch; delete it and it is gone.

A push: GitHub's webhook reaches the *receiver* (`receiver`, `github`), which verifies it and puts a `Change`
on the queue. The *worker* takes it (`controller.request`): the wish is written into the environment's record
(`store`), then one pass (`controller.reconcile`) claims ports and names (`claims`) and ensures every resource
(`resources/`): schema and keyspace (through the *datastores* function), target groups, listeners, curtains,
the pipeline. What is not finished says NotReady, and the pass ends. The pipeline builds an image, migrates
the schema and calls the *deploy* function, which writes down what was built (`watch.announce`) and wakes the
environment: now the pass registers task definitions and replaces the ECS services. ECS events wake it again
(`signals`) until they are live; the curtain falls, and the Deploy action is told so (`deployment`).

A delete: the same loop with the opposite wish. The pipeline and the tasks go first, then what stood before
them, then the data; when two passes have found nothing left, the record is forgotten with its claims.

Whatever is unsettled is woken every minute (`watch.sweep`), so a lost event costs a minute, not an
environment. What the records do not know, and what they know and is not there, is found by the `audit`.
What may go wrong is one of four errors (`errors`), and each is a retry policy.
"""
