"""ELBv2 rules that moto does not have: duplicates, quotas, pages, target groups and their health, actions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from moto.elbv2.models import ELBv2Backend, FakeListener

from tests.strict_aws.actions import LOG_IN, check_actions, without_secrets
from tests.strict_aws.call import Answer, Call, Pages, Params, Rule

LAMBDA_ARN = re.compile(r"arn:aws:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]+(:[A-Za-z0-9_$-]+)?")

# The defaults of an account. Facts B1-1, B1-2.
QUOTAS = {
    "application-load-balancers": 50,
    "listeners-per-application-load-balancer": 50,
    "rules-per-application-load-balancer": 100,
    "target-groups": 3000,
    "target-groups-per-action-on-application-load-balancer": 5,
    "target-groups-per-application-load-balancer": 100,
    "targets-per-application-load-balancer": 1000,
    "certificates-per-application-load-balancer": 25,
}

# Where the items of a list are, and what tells one from another.
LISTS = {
    "DescribeLoadBalancers": ("LoadBalancers", "LoadBalancerArn"),
    "DescribeTargetGroups": ("TargetGroups", "TargetGroupArn"),
    "DescribeListeners": ("Listeners", "ListenerArn"),
    "DescribeRules": ("Rules", "RuleArn"),
}
EVERYTHING = 1_000_000  # a page of moto's, which pages some of the lists by itself

NOT_FOUND = {  # what an unknown ARN is called
    ":targetgroup/": ("TargetGroupNotFound", "One or more target groups not found"),
    ":listener/": ("ListenerNotFound", "One or more listeners not found"),
    ":listener-rule/": ("RuleNotFound", "One or more rules not found"),
    ":loadbalancer/": ("LoadBalancerNotFound", "One or more load balancers not found"),
}


class Elbv2:
    """Controls: `quotas`, `page_size`, `in_use_lag`, `association_lag`, `set_health`."""

    def __init__(self, backend: ELBv2Backend) -> None:
        self._backend = backend
        self.quotas = dict(QUOTAS)
        self.page_size = 50
        """Of lists where the caller names none: AWS documents no default (moto's source says 400)."""
        self.in_use_lag = 0
        """So many DeleteTargetGroup calls still say "in use" once the listener is gone. Facts B1-7."""
        self.association_lag = 0
        """For so many calls ECS does not see that a target group has a load balancer. Facts B2-4."""
        self._settings: dict[str, Params] = {}  # what each target group and listener was asked to be, by ARN
        self._health: dict[tuple[str, str], dict[str, str]] = {}
        self._still_in_use: Counter[str] = Counter()
        self._not_yet_associated: Counter[str] = Counter()
        self._pages = Pages()
        self.rules: dict[str, Rule] = {
            "CreateTargetGroup": self._create_target_group,
            "ModifyTargetGroup": self._modify_target_group,
            "DeleteTargetGroup": self._delete_target_group,
            "CreateListener": self._create_listener,
            "ModifyListener": self._modify_listener,
            "DeleteListener": self._delete_listener,
            "CreateRule": self._create_rule,
            "ModifyRule": self._modify_rule,
            "DeleteRule": self._delete_rule,
            "RegisterTargets": self._register_targets,
            "DeregisterTargets": self._deregister_targets,
            **dict.fromkeys(LISTS, self._list),
            "DescribeTargetGroups": self._describe_target_groups,
            "DescribeTargetHealth": self._describe_target_health,
            "DescribeTags": self._describe_tags,
            "DescribeAccountLimits": self._describe_account_limits,
        }

    # Controls

    def set_health(
        self, target_group_arn: str, target: str, state: str = "healthy", reason: str = ""
    ) -> None:
        """What DescribeTargetHealth says about a registered target: healthy, unhealthy, initial …"""
        self._health[target_group_arn, target] = {"State": state} | ({"Reason": reason} if reason else {})

    def register(self, target_group_arn: str, target: str, port: int, state: str) -> None:
        """A task of an ECS service is behind the load balancer now."""
        if target_group_arn in self._backend.target_groups:
            self._backend.register_targets(target_group_arn, [{"Id": target, "Port": port}])
            self.set_health(target_group_arn, target, state)

    def deregister(self, target_group_arn: str, target: str) -> None:
        """A task of an ECS service has stopped."""
        group = self._backend.target_groups.get(target_group_arn)
        if group and target in group.targets:
            group.deregister([{"Id": target}])

    # What others ask

    def tagged(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Target groups, listeners and rules with their tags."""
        for arn in (*self._backend.target_groups, *self._listener_arns(), *self._rule_arns()):
            yield arn, self._backend.tagging_service.get_tag_dict_for_resource(arn)

    def has_target_group(self, arn: str) -> bool:
        return arn in self._backend.target_groups

    def target_type(self, arn: str) -> str:
        return str(self._backend.target_groups[arn].target_type)

    def has_load_balancer(self, target_group_arn: str) -> bool:
        """As ECS sees it, which may be a little later than the listener. Facts B2-4."""
        if self._not_yet_associated[target_group_arn] > 0:
            self._not_yet_associated[target_group_arn] -= 1
            return False
        return target_group_arn in self._used()

    # Target groups

    def _create_target_group(self, call: Call) -> Answer:
        """Same name and settings: the existing one, whoever owns it; else a duplicate. Facts B1-4."""
        name, settings = call.params["Name"], _without_tags(call.params)
        for group in self._backend.target_groups.values():
            if group.name == name and self._settings[group.arn] == settings:
                self._refresh()
                return call.ask("DescribeTargetGroups", TargetGroupArns=[group.arn])
            if group.name == name:
                raise call.error(
                    "DuplicateTargetGroupName",
                    f"A target group with the same name '{name}' exists, but with different settings",
                )
        if len(self._backend.target_groups) >= self.quotas["target-groups"]:  # facts B1-1
            raise call.error("TooManyTargetGroups", "The maximum number of target groups has been reached")
        answer = call.proceed()
        self._settings[answer["TargetGroups"][0]["TargetGroupArn"]] = settings
        return answer

    def _modify_target_group(self, call: Call) -> Answer:
        """What was not named keeps its setting, and a later create is compared with all. Facts B1-4.

        BC:elbv2.ModifyTargetGroup: "Modifies the health checks used when evaluating the health state".
        """
        answer = call.proceed()
        changed = {key: value for key, value in call.params.items() if key != "TargetGroupArn"}
        self._settings[call.params["TargetGroupArn"]] |= changed
        return answer

    def _delete_target_group(self, call: Call) -> Answer:
        """In use while a listener or rule forwards to it, and a little longer. Facts B1-7."""
        arn = call.params["TargetGroupArn"]
        if self._still_in_use[arn] > 0:
            self._still_in_use[arn] -= 1
            raise call.error(
                "ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule"
            )
        answer = call.proceed()
        self._settings.pop(arn, None)
        return answer

    def _describe_target_groups(self, call: Call) -> Answer:
        """With the load balancers that route to it now; moto never forgets one it was used by.

        BC:elbv2.TargetGroup.LoadBalancerArns: "that routes traffic to this target group".
        """
        self._refresh()
        return self._list(call)

    # Listeners and rules

    def _create_listener(self, call: Call) -> Answer:
        """One listener per port: same settings succeed, others are a duplicate. Facts B1-1, B1-4."""
        balancer = self._backend.load_balancers.get(call.params["LoadBalancerArn"])
        if balancer is None:
            return call.proceed()  # LoadBalancerNotFound
        existing = self._listener_on(balancer.arn, call.params.get("Port"))
        if existing and self._settings[existing.arn] == _without_tags(call.params):
            return without_secrets(call.ask("DescribeListeners", ListenerArns=[existing.arn]))
        if existing:
            raise self._duplicate_listener(call, balancer.arn)
        if len(balancer.listeners) >= self.quotas["listeners-per-application-load-balancer"]:
            raise call.error(
                "TooManyListeners", f"The maximum number of listeners has been reached on '{balancer.arn}'"
            )
        check_actions(call, call.params["DefaultActions"], str(call.params.get("Protocol")), is_new=True)
        self._check_targets(call, balancer.arn, call.params["DefaultActions"])
        answer = self._tracked(call)
        self._settings[answer["Listeners"][0]["ListenerArn"]] = _without_tags(call.params)
        return answer

    def _modify_listener(self, call: Call) -> Answer:
        listener = self._listener(call.params["ListenerArn"])
        if listener is None:
            return call.proceed()  # ListenerNotFound
        taken = self._listener_on(listener.load_balancer_arn, call.params.get("Port"))
        if taken and taken.arn != listener.arn:
            raise self._duplicate_listener(call, listener.load_balancer_arn)
        protocol = str(call.params.get("Protocol", listener.protocol))
        self._check_changed_actions(call, "DefaultActions", protocol, listener.default_actions)
        self._check_targets(call, listener.load_balancer_arn, call.params.get("DefaultActions", []))
        answer = self._tracked(call)
        self._settings[listener.arn] |= {
            key: value for key, value in call.params.items() if key != "ListenerArn"
        }
        return answer

    def _delete_listener(self, call: Call) -> Answer:
        return self._tracked(call)  # a missing one is ListenerNotFound: facts B1-8

    def _create_rule(self, call: Call) -> Answer:
        """moto knows PriorityInUse; the quota is ours. Facts B1-1, B1-5."""
        listener = self._listener(call.params["ListenerArn"])
        if listener is None:
            return call.proceed()  # ListenerNotFound
        balancer = self._backend.load_balancers[listener.load_balancer_arn]
        rules = sum(len(each.rules) - 1 for each in balancer.listeners.values())  # default rules do not count
        if rules >= self.quotas["rules-per-application-load-balancer"]:
            raise call.error(
                "TooManyRules", f"The maximum number of rules has been reached on '{balancer.arn}'"
            )
        check_actions(call, call.params["Actions"], str(listener.protocol), is_new=True)
        self._check_targets(call, balancer.arn, call.params["Actions"])
        return self._tracked(call)

    def _modify_rule(self, call: Call) -> Answer:
        balancer_arn = call.params["RuleArn"].replace(":listener-rule/", ":loadbalancer/").rsplit("/", 2)[0]
        listener = self._listener(
            call.params["RuleArn"].replace(":listener-rule/", ":listener/").rsplit("/", 1)[0]
        )
        if listener and call.params["RuleArn"] in listener.rules:
            before = listener.rules[call.params["RuleArn"]].actions
            self._check_changed_actions(call, "Actions", str(listener.protocol), before)
        self._check_targets(call, balancer_arn, call.params.get("Actions", []))
        return self._tracked(call)

    def _delete_rule(self, call: Call) -> Answer:
        """A missing rule is RuleNotFound; moto succeeds. BC:elbv2.DeleteRule."""
        if call.params["RuleArn"] not in self._rule_arns():
            raise call.error("RuleNotFound", "One or more rules not found")
        return self._tracked(call)

    @staticmethod
    def _check_changed_actions(call: Call, key: str, protocol: str, before: list[Any]) -> None:
        if key in call.params:
            logs_in = any(action.type in LOG_IN for action in before)
            check_actions(call, call.params[key], protocol, is_new=not logs_in)

    def _check_targets(self, call: Call, balancer_arn: str, actions: list[dict[str, Any]]) -> None:
        """A target group exists and has one load balancer only; a load balancer takes 100. Facts B1-1."""
        wanted = {arn for action in actions for arn in _forwards(action)}
        used = self._used()
        for arn in sorted(wanted):
            if arn not in self._backend.target_groups:
                raise call.error("TargetGroupNotFound", f"Target groups '{arn}' not found")
            if used.get(arn, {balancer_arn}) != {balancer_arn}:
                message = f"Target groups cannot be associated with more than one load balancer: {arn}"
                raise call.error("TargetGroupAssociationLimit", message)
        here = {arn for arn, balancers in used.items() if balancer_arn in balancers}
        if len(here | wanted) > self.quotas["target-groups-per-application-load-balancer"]:
            # BC: "the limit on the number of unique target groups per load balancer across all listeners"
            raise call.error(
                "TooManyUniqueTargetGroupsPerLoadBalancer", f"Too many target groups on '{balancer_arn}'"
            )

    @staticmethod
    def _duplicate_listener(call: Call, balancer_arn: str) -> Exception:
        message = f"A listener already exists on this port for this load balancer '{balancer_arn}'"
        return call.error("DuplicateListener", message)

    def _tracked(self, call: Call) -> Answer:
        """Let it happen, and note which target groups came into use and which went out of it."""
        before = set(self._used())
        answer = call.proceed()
        after = set(self._used())
        self._still_in_use.update(dict.fromkeys(before - after, self.in_use_lag))
        self._not_yet_associated.update(dict.fromkeys(after - before, self.association_lag))
        return without_secrets(answer)

    # Targets

    def _register_targets(self, call: Call) -> Answer:
        """A Lambda target group takes one function, by ARN and without a port. BC:elbv2.RegisterTargets."""
        group = self._backend.target_groups.get(call.params["TargetGroupArn"])
        if group and group.target_type == "lambda":
            targets = call.params["Targets"]
            if len(set(group.targets) | {target["Id"] for target in targets}) > 1:
                raise call.error("TooManyTargets", "A Lambda target group can have only one target")
            if "Port" in targets[0] or not LAMBDA_ARN.fullmatch(targets[0]["Id"]):
                raise call.error("ValidationError", f"'{targets[0]}' is not a valid target of type lambda")
        return call.proceed()

    def _deregister_targets(self, call: Call) -> Answer:
        """BC: "If the specified target does not exist, the action returns successfully"."""
        group = self._backend.target_groups.get(call.params["TargetGroupArn"])
        known = [
            target for target in call.params["Targets"] if group is None or target["Id"] in group.targets
        ]
        return call.proceed(Targets=known) if known else {}

    def _describe_target_health(self, call: Call) -> Answer:
        """Unused without a listener, unknown for Lambda, else what the test said. BC:elbv2.TargetHealth."""
        answer = call.proceed()
        arn = call.params["TargetGroupArn"]
        for described in answer["TargetHealthDescriptions"]:
            if described["Target"]["Id"] in self._backend.target_groups[arn].targets:
                described["TargetHealth"] = self._target_health(arn, described["Target"]["Id"])
        return answer

    def _target_health(self, arn: str, target: str) -> dict[str, str]:
        if arn not in self._used():
            return {"State": "unused", "Reason": "Target.NotInUse"}
        if self._backend.target_groups[arn].target_type == "lambda":
            return {"State": "unavailable", "Reason": "Target.HealthCheckDisabled"}
        return self._health.get((arn, target), {"State": "initial", "Reason": "Elb.RegistrationInProgress"})

    # Everything else

    def _describe_tags(self, call: Call) -> Answer:
        """Tags of something that is not there are an error; moto says "no tags". BC:elbv2.DescribeTags."""
        known = {*self._backend.target_groups, *self._backend.load_balancers}
        known |= self._listener_arns() | self._rule_arns()
        for arn in call.params["ResourceArns"]:
            if arn not in known:
                code, message = next(
                    (error for part, error in NOT_FOUND.items() if part in arn), NOT_FOUND[":targetgroup/"]
                )
                raise call.error(code, message)
        tags = self._backend.tagging_service.get_tag_dict_for_resource
        return {
            "TagDescriptions": [
                {"ResourceArn": arn, "Tags": [{"Key": k, "Value": v} for k, v in tags(arn).items()]}
                for arn in call.params["ResourceArns"]
            ]
        }

    def _list(self, call: Call) -> Answer:
        """By Marker and PageSize, whatever was asked for. BC:elbv2.PageSize: at most 400."""
        key, identity = LISTS[call.operation]
        asked = {name: value for name, value in call.params.items() if name != "Marker"}
        items = call.send(call.operation, asked | {"PageSize": EVERYTHING})[key]
        size, marker = call.params.get("PageSize", self.page_size), call.params.get("Marker")
        try:
            page, following = self._pages.cut(items, lambda item: item[identity], size, marker)
        except KeyError as error:
            raise call.error("ValidationError", f"The marker '{marker}' is invalid") from error
        answer: Answer = {key: page} | ({"NextMarker": following} if following else {})
        return without_secrets(answer)

    def _describe_account_limits(self, call: Call) -> Answer:
        """Facts B1-2: the live numbers."""
        return {"Limits": [{"Name": name, "Max": str(quota)} for name, quota in self.quotas.items()]}

    # What is where

    def _listeners(self) -> Iterator[FakeListener]:
        for balancer in self._backend.load_balancers.values():
            yield from balancer.listeners.values()

    def _listener(self, arn: str) -> FakeListener | None:
        return next((listener for listener in self._listeners() if listener.arn == arn), None)

    def _listener_on(self, balancer_arn: str, port: int | None) -> FakeListener | None:
        here = (listener for listener in self._listeners() if listener.load_balancer_arn == balancer_arn)
        return next((listener for listener in here if port is not None and int(listener.port) == port), None)

    def _listener_arns(self) -> set[str]:
        return {listener.arn for listener in self._listeners()}

    def _rule_arns(self) -> set[str]:
        return {arn for listener in self._listeners() for arn in listener.rules if isinstance(arn, str)}

    def _used(self) -> dict[str, set[str]]:
        """The load balancers behind every target group that a listener or a rule forwards to."""
        used: dict[str, set[str]] = {}
        for listener in self._listeners():
            for rule in listener.rules.values():
                for arn in (arn for action in rule.actions for arn in _forwards(action.data)):
                    used.setdefault(arn, set()).add(listener.load_balancer_arn)
        return used

    def _refresh(self) -> None:
        used = self._used()
        for group in self._backend.target_groups.values():
            group.load_balancer_arns = sorted(used.get(group.arn, set()))


def _without_tags(params: Params) -> Params:
    return {key: value for key, value in params.items() if key != "Tags"}


def _forwards(action: dict[str, Any]) -> set[str]:
    """The target groups an action forwards to."""
    weighted = {group["TargetGroupArn"] for group in action.get("ForwardConfig", {}).get("TargetGroups", [])}
    return weighted | ({action["TargetGroupArn"]} if action.get("TargetGroupArn") else set())
