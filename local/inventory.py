"""Everything there is right now, read from AWS, MySQL and Redis themselves and not from what qa-env says of
them.

One line per thing, the same for the demo, which shows what comes and goes, and for the tests, which insist
that nothing stays. Taken before a push and after a deletion, the difference is what was left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pymysql
import redis

from local.stack import Stack

SYSTEM_SCHEMAS = {"information_schema", "mysql", "performance_schema", "sys"}


class Inventory:
    """Looks at one stack again and again."""

    def __init__(self, stack: Stack) -> None:
        self._info = stack.info
        self._clients = {
            name: stack.client(name)
            for name in ("elbv2", "ecs", "ecr", "codepipeline", "dynamodb", "secretsmanager")
        }

    def take(self) -> set[str]:
        """Every thing of every kind. History is not a thing: it stays, with an end."""
        parts = (
            self._record(),
            self._pipelines(),
            self._load_balancing(),
            self._services(),
            self._task_definitions(),
            self._images(),
            self._secrets(),
            self._users(),
            self.schemas(),
            self.redis_keys(),
        )
        return {line for part in parts for line in part}

    def items(self) -> list[dict[str, str]]:
        """The strings of every item in the table."""
        pages = self._clients["dynamodb"].get_paginator("scan").paginate(TableName=self._info["table"])
        return [
            {name: value["S"] for name, value in item.items() if "S" in value}
            for page in pages
            for item in page["Items"]
        ]

    def _record(self) -> Iterator[str]:
        for item in self.items():
            if item["pk"].startswith("claim#"):
                yield f"claim on {_scope(item['pk'])} {item['sk']} by {item['slug']}"
            elif not item["pk"].startswith(
                ("history#", "repository", "dismissed", "deletion", "audit", "rounds")
            ):  # what is only remembered
                yield f"{item['pk']} record {item['sk']}"

    def _pipelines(self) -> Iterator[str]:
        for page in self._clients["codepipeline"].get_paginator("list_pipelines").paginate():
            for pipeline in page["pipelines"]:
                yield f"pipeline {pipeline['name']}"

    def _load_balancing(self) -> Iterator[str]:
        elbv2 = self._clients["elbv2"]
        for group in elbv2.describe_target_groups()["TargetGroups"]:
            yield f"target group {group['TargetGroupName']}"
        for balancer in self._info["load_balancers"]:
            for listener in elbv2.describe_listeners(LoadBalancerArn=balancer["arn"])["Listeners"]:
                yield f"listener on port {listener['Port']}"
                for rule in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
                    if not rule["IsDefault"]:
                        yield f"curtain on port {listener['Port']}"

    def _services(self) -> Iterator[str]:
        ecs, cluster = self._clients["ecs"], self._info["cluster"]
        arns = [
            a for p in ecs.get_paginator("list_services").paginate(cluster=cluster) for a in p["serviceArns"]
        ]
        for start in range(0, len(arns), 10):
            described = ecs.describe_services(cluster=cluster, services=arns[start : start + 10])
            for service in described["services"]:
                yield f"ECS service {service['serviceName']}"
        running = [
            a for p in ecs.get_paginator("list_tasks").paginate(cluster=cluster) for a in p["taskArns"]
        ]
        for start in range(0, len(running), 100):
            for task in ecs.describe_tasks(cluster=cluster, tasks=running[start : start + 100])["tasks"]:
                definition = task["taskDefinitionArn"].rsplit("/", 1)[-1]
                yield f"task of {definition} ({task['lastStatus'].lower()})"

    def _task_definitions(self) -> Iterator[str]:
        paginator = self._clients["ecs"].get_paginator("list_task_definitions")
        for status in ("ACTIVE", "INACTIVE"):
            for page in paginator.paginate(status=status):
                for arn in page["taskDefinitionArns"]:
                    yield f"task definition {arn.rsplit('/', 1)[-1]}"

    def _images(self) -> Iterator[str]:
        listed = self._clients["ecr"].list_images(repositoryName=self._info["image_repository"])
        for image in listed["imageIds"]:
            yield f"image {image.get('imageTag', image['imageDigest'])}"

    def _secrets(self) -> Iterator[str]:
        for page in self._clients["secretsmanager"].get_paginator("list_secrets").paginate():
            for secret in page["SecretList"]:
                yield f"secret {secret['Name']}"

    def _users(self) -> Iterator[str]:
        with closing(connect(self._info["mysql"])) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT User FROM mysql.user")
            for (name,) in cursor.fetchall():
                yield f"MySQL user {name}"

    def schemas(self) -> Iterator[str]:
        """Every schema that is not the server's own."""
        with closing(connect(self._info["mysql"])) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            for (name,) in cursor.fetchall():
                if name not in SYSTEM_SCHEMAS:
                    yield f"schema {name}"

    def redis_keys(self) -> Iterator[str]:
        """Every key of every numbered database."""
        with closing(redis.Redis.from_url(self._info["redis"])) as client:
            numbers = [int(name.removeprefix("db")) for name in client.info("keyspace")]
        for number in numbers:
            with closing(
                redis.Redis.from_url(self._info["redis"], db=number, decode_responses=True)
            ) as client:
                for key in client.scan_iter():
                    yield f"redis key {key}" + (f" in database {number}" if number else "")


def connect(url: str) -> Any:
    """A connection to the MySQL server of `stack.json`."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or ""
    )


def _scope(key: str) -> str:
    """`claim#redis database secretsmanager:arn:…` → `redis database`: without whose it is."""
    words = key.removeprefix("claim#").replace("#", " ").split(" ")
    return " ".join(word for word in words if ":" not in word)
