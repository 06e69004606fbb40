"""The one CodePipeline stand-in, for the test-suite and for the local stack.

moto's CodePipeline neither starts an execution on create, nor runs one, nor tells anybody (facts D1-1,
D2-14). This one does what facts B3 says: stages, actions, superseding, stopping, Lambda jobs and
state-change events, all in memory. What "build", "invoke" and "tell" mean is up to the `World` it is given.

In a test nothing moves by itself; the client is a real boto3 client that the engine answers in process:

    engine = Engine(World(lambda repository, branch: heads.get(branch), run_build=build, emit=events.append))
    codepipeline = engine.client()
    codepipeline.create_pipeline(pipeline=...)   # its first execution is in the Source stage now (facts B3-1)
    engine.step()                                # … and now its Source action has finished
    engine.run_until_idle()                      # … and now everything has that needs no clock

Its actions name the CodeBuild builds that they started, and `engine.codebuild` answers for these: a build
that was abandoned goes on until it is stopped, as in AWS. `Settings(build_seconds=…)` lets one stand before
it does anything.

Time is `Settings(clock=…)`: a test moves its own clock to `engine.next_due()` to see a continuation or a
limit.

For the local stack the same engine runs in threads behind HTTP (`endpoint_url`,
`AWS_ENDPOINT_URL_CODEPIPELINE`):

    server = Server(engine)
    server.start()                               # server.url is http://127.0.0.1:<port>
    server.stop()

With moto: `mock_aws` answers requests to hosts of amazonaws.com and lets all others through, so a client
with `endpoint_url=server.url` reaches the server inside `mock_aws` without any passthrough configuration
(tried with moto 5.2.5; a test holds on to it). `engine.client()` and `attach(client, engine)` come before
moto, whatever the host.

Not here: QUEUED and PARALLEL, manual approval, retry, rollback, disabled transitions, custom actions,
CodeBuild variables of type PARAMETER_STORE. Asking for them is an error, never silence.
"""

from local.codepipeline.engine import Engine
from local.codepipeline.values import ApiError, BuildResult, Settings, SourceRevision, World
from local.codepipeline.wire import Server, attach

__all__ = ["ApiError", "BuildResult", "Engine", "Server", "Settings", "SourceRevision", "World", "attach"]
