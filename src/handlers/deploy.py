"""The pipeline's Deploy action: “commit C is built”, then “is it live yet?” until it is decided.

Every way out answers the job: an action without an answer hangs for twenty minutes (facts B3-16).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import runtime, trace
from qa_env.deployment import Job, Outcome, Verdict, is_overtaken, job_id, judge, read_job
from qa_env.errors import Stale
from qa_env.watch import Watch

logger = Logger()
MESSAGE_MAX = 5000  # the service model's limit of failureDetails.message
ERRORS_MAX = 5  # in a row, before the action fails: a throttled call must not cost a whole build


def handler(
    event: dict[str, Any], context: Any, *, watch: Watch | None = None, codepipeline: Any = None
) -> dict[str, Any]:
    """Puts the job's result and answers with it."""
    client = codepipeline or runtime.client("codepipeline")
    token = ""
    try:
        job = read_job(event)
    except ValueError as error:
        verdict = Verdict(Outcome.FAILED, str(error))
    else:
        with trace.about("deploy", environment=job.slug):
            verdict, token = _round(job, watch or runtime.watch())
    logger.info("deploy", job=job_id(event), outcome=verdict.outcome, said=verdict.message)
    _answer(client, job_id(event), verdict, token)
    return {"outcome": verdict.outcome, "message": verdict.message}


def _round(job: Job, watch: Watch) -> tuple[Verdict, str]:
    """The verdict and, should it be none yet, what the next round must know."""
    try:
        verdict = _decide(job, watch)
    except Exception as error:  # whatever it was, the action must not hang
        logger.exception("the deploy action met an error")
        broken = replace(job, errors=job.errors + 1)
        outcome = Outcome.CONTINUE if broken.errors < ERRORS_MAX else Outcome.FAILED
        said = f"qa-env cannot say what became of it: {type(error).__name__}"
        return Verdict(outcome, said), broken.token
    return verdict, replace(job, announced=True, errors=0).token


def _decide(job: Job, watch: Watch) -> Verdict:
    """Announces the build unless the record has it; a round that goes on has announced."""
    logger.append_keys(environment=job.slug)
    env = watch.store.get(job.slug)
    if env and env.built and is_overtaken(env, job):
        return judge(env, env.built)
    if env and env.built != job.built:
        try:
            watch.announce(job.slug, job.built)
            return Verdict(Outcome.CONTINUE, "announced")  # what was said before is not about this build
        except Stale:
            logger.info("built a commit that is not wanted any more")
        env = watch.store.get(job.slug)
    return judge(env, job.built)


def _answer(client: Any, job: str, verdict: Verdict, token: str) -> None:
    match verdict.outcome:
        case Outcome.LIVE:
            client.put_job_success_result(jobId=job, executionDetails={"summary": verdict.message[:2048]})
        case Outcome.CONTINUE:
            client.put_job_success_result(jobId=job, continuationToken=token)
        case Outcome.FAILED:
            details = {"type": "JobFailed", "message": verdict.message[:MESSAGE_MAX]}
            client.put_job_failure_result(jobId=job, failureDetails=details)
