"""The curtain: one listener rule `/*` that shows the page while the service is not live.

Up from the first pass and again before a stop-then-start deployment, so that a visitor never meets a bare
503; down when the service runs what it should. It also hangs, and is ready so, before an environment that
sleeps and before one whose schema is being reset. A rule that a person has changed is hung anew. All curtains
of a load balancer forward to one Lambda target group (a target group serves one load balancer only: facts
B1-1); whoever is last takes it along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from qa_env import aws, elbv2, login, naming, sleep
from qa_env.blueprint import Blueprint, Oidc
from qa_env.errors import Blocked, NotReady
from qa_env.looking import Once, afresh, both
from qa_env.model import Environment, Outputs, Slug, State, key

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import RuleTypeDef

PRIORITY = 1
PATH = "path-pattern"
EVERYWHERE = ["/*"]


@dataclass(frozen=True)
class Curtain:
    """One web role's curtain. `page` is the page function's ARN; `read_secret` reads a log-in's secret."""

    client: ElasticLoadBalancingv2Client
    blueprint: Blueprint
    installation: str
    page: str
    read_secret: Callable[[str], str]
    name: str
    once: Once = afresh
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    kind = "curtain"

    def ensure(self, env: Environment) -> Outputs:
        """Hang the curtain while the service is not to be seen, take it down when it is.

        Says `asleep` where it hangs for that: only then a service may stop behind it.
        """
        listener = env.output("listener", self.name)["arn"]
        asleep = sleep.asleep(env, self.blueprint.sleep_after, self.now())
        is_live = self._is_live(env)
        with aws.doing(f"moving the curtain of {env.slug} {self.name}"):
            look = partial(self.once, ("rules", listener), partial(self._rules, listener))
            if not is_live and key(self.kind, self.name) not in env.conditions:
                rules, _ = both(look, partial(self._page, env))  # it never hung, so both are needed
            else:
                rules = look()
            if is_live and not asleep and not env.resetting:
                for rule, _ in rules:
                    self._delete_rule(rule["RuleArn"])
                return {}
            self._keep_hanging(env, listener, rules)
        if asleep:
            return {"asleep": asleep}
        if is_live:
            return {"hides": "reset"}  # the running build's Deploy stage waits for this before it can end
        raise NotReady(f"the curtain hangs until {self.name} is live", asleep="")

    def delete(self, env: Environment) -> None:
        """The rule goes with its listener; the page's target group goes when no listener uses it."""
        arns = {lb.arn for lb in self.blueprint.load_balancers} | env.load_balancers(self.name)
        with aws.doing(f"deleting the curtain of {env.slug} {self.name}"):
            for load_balancer in sorted(arns):
                delete = partial(self._delete_unused_page, load_balancer)
                self.once(("unused page", load_balancer), delete)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every listener rule carrying our owner tag."""
        for lb in self.blueprint.load_balancers:
            for listener in elbv2.listeners(self.client, lb.arn):
                arns = [rule["RuleArn"] for rule in self._all_rules(listener["ListenerArn"])]
                yield from elbv2.owners(self.client, arns, self.installation, {})

    def _is_live(self, env: Environment) -> bool:
        """Does the service serve, and is it about to be left alone?

        Only what the service last said counts, and a task definition that will replace it: a database that
        does not answer, or a throttled call, is no reason to hide an application that runs.
        """
        service = env.remembered("service", self.name)
        if service.get("serving") != "yes":
            return False
        coming = env.conditions.get(key("task_definition", self.name))
        if coming is None or coming.state is not State.READY:
            return True
        if env.conditions[key("service", self.name)].state is State.BLOCKED:
            return True  # what runs will not be replaced until a person has helped
        rolling = self.blueprint.roles[self.name].deployment.strategy == "rolling"
        return rolling or service.get("task_definition") == coming.outputs["arn"]

    def _rules(self, listener: str) -> list[tuple[RuleTypeDef, str]]:
        """Our rules on the listener, each with the mark of its log-in; a person may have added others."""
        rules = {rule["RuleArn"]: rule for rule in self._all_rules(listener)}
        tagged = elbv2.tags(self.client, rules).items()
        ours = {arn: tags for arn, tags in tagged if naming.owner_of(tags, self.installation)}
        return [(rules[arn], tags.get(naming.TAG_SETTINGS, "")) for arn, tags in ours.items()]

    def _all_rules(self, listener: str) -> Iterator[RuleTypeDef]:
        pages = self.client.get_paginator("describe_rules").paginate(ListenerArn=listener)
        return (rule for page in pages for rule in page["Rules"] if not rule["IsDefault"])

    def _keep_hanging(
        self, env: Environment, listener: str, rules: Sequence[tuple[RuleTypeDef, str]]
    ) -> None:
        """See that one rule hangs that shows the page, with the log-in that the blueprint wants."""
        arn, _ = env.port_of(self.name)
        load_balancer = self.blueprint.load_balancer(arn)
        oidc = load_balancer.oidc if load_balancer else None
        page = naming.curtain_target_group(self.installation, arn)
        right = [mark == login.mark(oidc) and _is_curtain(rule, oidc, page) for rule, mark in rules]
        moved = bool(rules) and not any(_is_in_place(rule) for rule, _ in rules)
        if moved and self._is_taken(listener):
            raise _taken(listener)  # a curtain behind another's rule hides more than none
        for (rule, _), is_right in zip(rules, right, strict=True):
            if not is_right:
                self._delete_rule(rule["RuleArn"])
        if not any(right):
            self._hang(env, listener, oidc)

    def _hang(self, env: Environment, listener: str, oidc: Oidc | None) -> None:
        page = self._page(env)
        mark = {naming.TAG_SETTINGS: login.mark(oidc)} if oidc else {}
        try:
            self.client.create_rule(
                ListenerArn=listener,
                Priority=PRIORITY,
                Conditions=[{"Field": PATH, "PathPatternConfig": {"Values": EVERYWHERE}}],
                Actions=login.actions(oidc, self.read_secret, page),
                Tags=aws.tag_list(naming.tags(self.installation, env, self.name) | mark),
            )
        except self.client.exceptions.TargetGroupNotFoundException as error:
            raise NotReady("the page's target group went with another environment; hanging again") from error
        except self.client.exceptions.PriorityInUseException as error:
            if self._is_taken(listener):
                raise _taken(listener) from error
            raise NotReady("the curtain hangs but cannot be seen yet; looking again") from error

    def _is_taken(self, listener: str) -> bool:
        """Is a rule that is not ours shown in the curtain's place?

        From one listing: a rule that only the second of two shows would be missing among ours.
        """
        placed = [rule["RuleArn"] for rule in self._all_rules(listener) if _is_in_place(rule)]
        tagged = elbv2.tags(self.client, placed).values()
        return not all(naming.owner_of(tags, self.installation) for tags in tagged)

    def _page(self, env: Environment) -> str:
        """The page's target group, looked after once for all roles on one load balancer."""
        load_balancer, _ = env.port_of(self.name)
        return self.once(("page", load_balancer), partial(self._ensure_page, load_balancer))

    def _delete_rule(self, rule: str) -> None:
        try:
            self.client.delete_rule(RuleArn=rule)
        except self.client.exceptions.RuleNotFoundException:
            return

    def _ensure_page(self, load_balancer: str) -> str:
        """The ARN of the load balancer's target group for the page function, with it registered."""
        name = naming.curtain_target_group(self.installation, load_balancer)
        arn = self._named(name)
        if arn is None:
            owner = aws.tag_list({naming.TAG_INSTALLATION: self.installation})
            made = self.client.create_target_group(Name=name, TargetType="lambda", Tags=owner)
            return self._register(made["TargetGroups"][0]["TargetGroupArn"])
        is_ours, shows = both(partial(self._is_ours, arn), partial(self._shows, arn))
        if not is_ours:
            raise _not_ours(name)
        return arn if shows else self._register(arn)

    def _named(self, name: str) -> str | None:
        try:
            (group,) = self.client.describe_target_groups(Names=[name])["TargetGroups"]
        except self.client.exceptions.TargetGroupNotFoundException:
            return None
        return group["TargetGroupArn"]

    def _is_ours(self, page: str) -> bool:
        tags = elbv2.tags(self.client, [page]).get(page, {})
        return tags.get(naming.TAG_INSTALLATION) == self.installation

    def _shows(self, page: str) -> bool:
        health = self.client.describe_target_health(TargetGroupArn=page)["TargetHealthDescriptions"]
        return self.page in {one["Target"]["Id"] for one in health}

    def _register(self, page: str) -> str:
        self.client.register_targets(TargetGroupArn=page, Targets=[{"Id": self.page}])
        return page

    def _find_page(self, load_balancer: str) -> str | None:
        name = naming.curtain_target_group(self.installation, load_balancer)
        arn = self._named(name)
        if arn and not self._is_ours(arn):
            raise _not_ours(name)
        return arn

    def _delete_unused_page(self, load_balancer: str) -> None:
        try:
            arn = self._find_page(load_balancer)
        except Blocked:
            return
        if arn is None:
            return
        try:
            (group,) = self.client.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"]
            if not group["LoadBalancerArns"]:
                self.client.delete_target_group(TargetGroupArn=arn)
        except self.client.exceptions.TargetGroupNotFoundException:
            return  # another role's or environment's teardown was quicker
        except self.client.exceptions.ClientError:
            # IAM may deny instead: it allows to delete what bears our tag, and what is gone bears none.
            if self._find_page(load_balancer):
                raise


def _is_curtain(rule: RuleTypeDef, oidc: Oidc | None, page: str) -> bool:
    """Does the rule, as it is shown, lead every request to the target group of this name?

    By its name, which its ARN holds: the page is not looked for while the curtain hangs, and nobody can
    delete a target group that a rule forwards to.
    """
    # Either form of the values is documented; a curtain known by one alone could be hung anew in every pass.
    paths = [(one["Field"], one.get("PathPatternConfig", one).get("Values")) for one in rule["Conditions"]]
    groups = [one.get("TargetGroupArn", "") for one in rule["Actions"] if one["Type"] == "forward"]
    leads = [group for group in groups if f":targetgroup/{page}/" in group]
    everywhere = _is_in_place(rule) and paths == [(PATH, EVERYWHERE)]
    return everywhere and any(login.is_as_wanted(oidc, rule["Actions"], group) for group in leads)


def _is_in_place(rule: RuleTypeDef) -> bool:
    """Does it come before all others?"""
    return rule["Priority"] == str(PRIORITY)


def _not_ours(name: str) -> Blocked:
    return Blocked(f"target group {name} has our name but is not ours; rename or delete it")


def _taken(listener: str) -> Blocked:
    return Blocked(
        f"a rule that is not ours has the curtain's priority {PRIORITY} on listener {listener};"
        " give it another priority"
    )
