"""The variables by which an application finds its own data: the same for its tasks and its migration."""

from __future__ import annotations

from qa_env.blueprint import Blueprint
from qa_env.model import Environment


def data_variables(blueprint: Blueprint, env: Environment) -> dict[str, str]:
    """`DB_NAME` and the redis variables: what an application needs to find its own data."""
    variables: dict[str, str] = {}
    if blueprint.database:
        variables[blueprint.database.variable] = env.output("schema")["name"]
    if blueprint.redis.mode != "none":
        place = env.output("keyspace")
        for name, template in blueprint.redis.variables.items():
            filled = template.replace("{namespace}", place.get("namespace", ""))
            variables[name] = filled.replace("{database}", place["database"])
    return variables


def data_secrets(blueprint: Blueprint, env: Environment, place: str) -> dict[str, str]:
    """`DB_USER` and `DB_PASSWORD`: variable → `<secret>:<field>`, where the environment has its own user.

    `place` is how the reader names a secret: by its `arn`, or by its `secret`'s name, which is shorter.
    """
    database = blueprint.database
    if database is None or database.accounts == "shared":
        return {}
    secret = env.output("account")[place]
    fields = {database.user_variable: "username", database.password_variable: "password"}
    return {variable: f"{secret}:{field}" for variable, field in fields.items()}
