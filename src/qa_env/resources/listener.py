"""The listener on a web role's claimed port: what makes the URL.

It exists from the first pass, because ECS refuses a target group that no listener uses (facts B2-4) and
because a URL that can be sent within seconds is the point. A listener has no name: it is found by its port
when wanted, and by its tags when it is to go, so that a moved claim leaves nothing behind. Where the
blueprint has a log-in, it asks everybody for it (`qa_env.login`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qa_env import aws, elbv2, login, naming
from qa_env.blueprint import Blueprint, LoadBalancer
from qa_env.errors import Blocked
from qa_env.looking import Once, afresh
from qa_env.model import Claim, Environment, Outputs, Slug, port_scope

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import ListenerTypeDef


@dataclass(frozen=True)
class Listener:
    """One web role's listener; `read_secret` reads a log-in's secret."""

    client: ElasticLoadBalancingv2Client
    blueprint: Blueprint
    installation: str
    read_secret: Callable[[str], str]
    name: str
    once: Once = afresh
    kind = "listener"

    def ensure(self, env: Environment) -> Outputs:
        """Find or create the listener, point it at the target group, return its ARN and URL."""
        lb, port = self._place(env)
        group = env.output("target_group", self.name)["arn"]
        with aws.doing(f"ensuring listener {lb.host}:{port}"):
            found = self._find(env, lb.arn, port)
            arn = self._correct(lb, *found, group) if found else self._create(env, lb, port, group)
            self._delete_others(env, lb.arn, port, group)
        return {"arn": arn, "url": _url(lb, env.slug, port), "port": str(port)}

    def delete(self, env: Environment) -> None:
        """Delete every listener of this environment and role, whatever its port."""
        arns = {lb.arn for lb in self.blueprint.load_balancers} | env.load_balancers(self.name)
        with aws.doing(f"deleting the listener of {env.slug} {self.name}"):
            for arn in sorted(arns):
                for listener in self._mine(env.slug, arn):
                    self._delete(listener)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every listener carrying our owner tag."""
        return self.whose({})

    def whose(self, known: Mapping[str, Slug]) -> Iterator[Slug]:
        """The same, without asking for the tags of what is `known`: ARN → whose it is."""
        balancers = [lb.arn for lb in self.blueprint.load_balancers]
        arns = [one["ListenerArn"] for lb in balancers for one in elbv2.listeners(self.client, lb)]
        return elbv2.owners(self.client, arns, self.installation, known)

    def _find(
        self, env: Environment, load_balancer: str, port: int
    ) -> tuple[ListenerTypeDef, dict[str, str]] | None:
        """The listener on our port and its tags: None if missing, Blocked if someone else's."""
        listeners = {one["Port"]: one for one in self._listeners(load_balancer)}
        if port not in listeners:
            return None
        listener, arn = listeners[port], listeners[port]["ListenerArn"]
        held = {Claim(port_scope(load_balancer), str(one)): one for one in listeners}
        ours = frozenset(listeners[held[c]]["ListenerArn"] for c in env.claims.values() if c in held)
        tags = self._tags(ours).get(arn, {})
        if naming.owner_of(tags, self.installation) != env.slug:
            raise Blocked(f"port {port} of {load_balancer} has a listener that is not ours; delete it")
        return listener, tags

    def _delete_others(self, env: Environment, load_balancer: str, port: int, target_group: str) -> None:
        """Of an earlier life, whose port somebody else holds now or whose listener was not seen.

        They lead to the same target group, as that is how they are noticed without asking for anybody's tags.
        """
        beside = [one for one in self._listeners(load_balancer) if one["Port"] != port]
        suspects = [one["ListenerArn"] for one in beside if _leads_to(one, target_group)]
        for arn, tags in self._tags(frozenset(suspects)).items() if suspects else ():
            if (
                naming.owner_of(tags, self.installation) == env.slug
                and tags.get(naming.TAG_ROLE) == self.name
            ):
                self._delete(arn)

    def _create(self, env: Environment, lb: LoadBalancer, port: int, target_group: str) -> str:
        tags = naming.tags(self.installation, env, self.name) | _mark(lb)
        (listener,) = self.client.create_listener(
            LoadBalancerArn=lb.arn, Port=port, Tags=aws.tag_list(tags), **self._wanted(lb, target_group)
        )["Listeners"]
        return listener["ListenerArn"]

    def _correct(
        self, lb: LoadBalancer, listener: ListenerTypeDef, tags: dict[str, str], target_group: str
    ) -> str:
        """Change the listener if it is not as wanted; its mark comes last, so that a crash repeats it."""
        arn, mark = listener["ListenerArn"], _mark(lb)
        if _differs(listener, lb, target_group) or not mark.items() <= tags.items():
            self.client.modify_listener(ListenerArn=arn, **self._wanted(lb, target_group))
            if mark:
                self.client.add_tags(ResourceArns=[arn], Tags=aws.tag_list(mark))
        return arn

    def _mine(self, slug: Slug, load_balancer: str) -> list[str]:
        arns = frozenset(listener["ListenerArn"] for listener in self._listeners(load_balancer))
        return [
            arn
            for arn, tags in self._tags(arns).items()
            if naming.owner_of(tags, self.installation) == slug and tags.get(naming.TAG_ROLE) == self.name
        ]

    def _listeners(self, load_balancer: str) -> list[ListenerTypeDef]:
        read = partial(elbv2.listeners, self.client, load_balancer)
        return self.once(("listeners", load_balancer), read)

    def _tags(self, arns: frozenset[str]) -> dict[str, dict[str, str]]:
        return self.once(("tags", arns), partial(elbv2.tags, self.client, arns))

    def _delete(self, arn: str) -> None:
        try:
            self.client.delete_listener(ListenerArn=arn)
        except self.client.exceptions.ListenerNotFoundException:
            return

    def _place(self, env: Environment) -> tuple[LoadBalancer, int]:
        arn, port = env.port_of(self.name)
        lb = self.blueprint.load_balancer(arn)
        if lb is None:
            raise Blocked(
                f"load balancer {arn} is no longer in the blueprint; put it back, or delete the branch"
                " and push it again"
            )
        return lb, port

    def _wanted(self, lb: LoadBalancer, target_group: str) -> dict[str, Any]:
        actions = login.actions(lb.oidc, self.read_secret, target_group)
        return {"Protocol": lb.protocol, "DefaultActions": actions, **_tls(lb)}


def _tls(lb: LoadBalancer) -> dict[str, Any]:
    if lb.protocol != "HTTPS":
        return {}
    return {"Certificates": [{"CertificateArn": lb.certificate_arn}], "SslPolicy": lb.ssl_policy}


def _mark(lb: LoadBalancer) -> dict[str, str]:
    """The tag that tells one log-in from another; none without."""
    return {naming.TAG_SETTINGS: login.mark(lb.oidc)} if lb.oidc else {}


def _leads_to(listener: ListenerTypeDef, target_group: str) -> bool:
    return any(action.get("TargetGroupArn") == target_group for action in listener["DefaultActions"])


def _differs(listener: ListenerTypeDef, lb: LoadBalancer, target_group: str) -> bool:
    """AWS adds to what was asked for (`IsDefault`, for one), so only that is compared."""
    certificates = [one["CertificateArn"] for one in listener.get("Certificates") or []]
    return (
        listener["Protocol"] != lb.protocol
        or not login.is_as_wanted(lb.oidc, listener["DefaultActions"], target_group)
        or certificates != [lb.certificate_arn] * (lb.protocol == "HTTPS")
        or (lb.protocol == "HTTPS" and listener.get("SslPolicy") != lb.ssl_policy)
    )


def _url(lb: LoadBalancer, slug: Slug, port: int) -> str:
    scheme = lb.protocol.lower()
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{lb.host.replace('{slug}', slug)}{'' if port == usual else f':{port}'}/"
