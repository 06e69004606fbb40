"""The listener on a web role's claimed port: what makes the URL.

It exists from the first pass, because ECS refuses a target group that no listener uses (facts B2-4) and
because a URL that can be sent within seconds is the point. A listener has no name: it is found by its port
when wanted, and by its tags when it is to go, so that a moved claim leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, elbv2, naming
from qa_env.blueprint import Blueprint, LoadBalancer
from qa_env.errors import Blocked
from qa_env.model import Environment, Outputs, Slug

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import ListenerTypeDef


@dataclass(frozen=True)
class Listener:
    """One web role's listener."""

    client: ElasticLoadBalancingv2Client
    blueprint: Blueprint
    installation: str
    name: str
    kind = "listener"

    def ensure(self, env: Environment) -> Outputs:
        """Find or create the listener, point it at the target group, return its ARN and URL."""
        lb, port = self._place(env)
        wanted = self._wanted(lb, env.output("target_group", self.name)["arn"])
        with aws.doing(f"ensuring listener {lb.host}:{port}"):
            listener = self._find(env, lb.arn, port)
            if listener is None:
                listener = self._create(env, lb, port, wanted)
            elif _differs(listener, wanted):
                self.client.modify_listener(ListenerArn=listener["ListenerArn"], **wanted)
        return {"arn": listener["ListenerArn"], "url": _url(lb, env.slug, port), "port": str(port)}

    def delete(self, env: Environment) -> None:
        """Delete every listener of this environment and role, whatever its port."""
        arns = {lb.arn for lb in self.blueprint.load_balancers} | env.load_balancers(self.name)
        with aws.doing(f"deleting the listener of {env.slug} {self.name}"):
            for arn in sorted(arns):
                for listener in self._mine(env.slug, arn):
                    self._delete(listener)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every listener carrying our owner tag."""
        for lb in self.blueprint.load_balancers:
            arns = [listener["ListenerArn"] for listener in elbv2.listeners(self.client, lb.arn)]
            yield from elbv2.owners(self.client, arns, self.installation)

    def _find(self, env: Environment, load_balancer: str, port: int) -> ListenerTypeDef | None:
        """The listener on our port: None if missing, Blocked if someone else's."""
        on_port = [one for one in elbv2.listeners(self.client, load_balancer) if one["Port"] == port]
        if not on_port:
            return None
        (listener,) = on_port
        arn = listener["ListenerArn"]
        if naming.owner_of(elbv2.tags(self.client, [arn]).get(arn, {}), self.installation) != env.slug:
            raise Blocked(f"port {port} of {load_balancer} has a listener that is not ours; delete it")
        return listener

    def _create(
        self, env: Environment, lb: LoadBalancer, port: int, wanted: dict[str, Any]
    ) -> ListenerTypeDef:
        tags = aws.tag_list(naming.tags(self.installation, env, self.name))
        (listener,) = self.client.create_listener(LoadBalancerArn=lb.arn, Port=port, Tags=tags, **wanted)[
            "Listeners"
        ]
        return listener

    def _mine(self, slug: Slug, load_balancer: str) -> list[str]:
        arns = [listener["ListenerArn"] for listener in elbv2.listeners(self.client, load_balancer)]
        return [
            arn
            for arn, tags in elbv2.tags(self.client, arns).items()
            if naming.owner_of(tags, self.installation) == slug and tags.get(naming.TAG_ROLE) == self.name
        ]

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
        wanted: dict[str, Any] = {
            "Protocol": lb.protocol,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": target_group}],
        }
        if lb.protocol == "HTTPS":
            wanted |= {"Certificates": [{"CertificateArn": lb.certificate_arn}], "SslPolicy": lb.ssl_policy}
        return wanted


def _differs(listener: ListenerTypeDef, wanted: dict[str, Any]) -> bool:
    """AWS adds `ForwardConfig`, `Order` and `IsDefault`, so only what we asked for is compared."""
    forwards = [action.get("TargetGroupArn") for action in listener["DefaultActions"]]
    certificates = [one["CertificateArn"] for one in listener.get("Certificates") or []]
    return (
        listener["Protocol"] != wanted["Protocol"]
        or forwards != [action["TargetGroupArn"] for action in wanted["DefaultActions"]]
        or certificates != [one["CertificateArn"] for one in wanted.get("Certificates", [])]
        or ("SslPolicy" in wanted and listener.get("SslPolicy") != wanted["SslPolicy"])
    )


def _url(lb: LoadBalancer, slug: Slug, port: int) -> str:
    scheme = lb.protocol.lower()
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{lb.host.replace('{slug}', slug)}{'' if port == usual else f':{port}'}/"
