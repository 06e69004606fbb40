"""Which environment does a visitor of a port want? The claim of that port says."""

from __future__ import annotations

from dataclasses import dataclass

from qa_env import naming
from qa_env.model import Claim, Environment, port_scope
from qa_env.store import Store


@dataclass(frozen=True)
class Places:
    """The installation's load balancers: each has one target group for the page, named after it."""

    installation: str
    load_balancers: tuple[str, ...]

    def load_balancer(self, target_group: str) -> str | None:
        """The load balancer whose curtains lead to this target group; None for the list's own."""
        name = target_group.split(":targetgroup/")[-1].split("/")[0]
        named = {naming.curtain_target_group(self.installation, arn): arn for arn in self.load_balancers}
        return named.get(name)


def environment(store: Store, load_balancer: str, port: str) -> Environment | None:
    """The environment on the port, None if nobody holds it."""
    if not port.isdecimal():
        return None
    holder = store.holder(Claim(port_scope(load_balancer), str(int(port))))
    return store.get(holder) if holder else None
