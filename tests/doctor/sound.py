"""A world in which every check is content, and the hands to break one thing of it at a time.

AWS is the strict layer's where moto has it; what moto lacks is answered by one stand-in per operation, from
`Sound.said`. GitHub, Slack and the webhook are real HTTP; secrets come from `tests/canaries.py`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import yaml

from local import slack as local_slack
from local.github_hooks import App, Webhook
from qa_env.blueprint import Blueprint
from qa_env.doctor import checks
from qa_env.doctor.finding import Finding, Level
from qa_env.doctor.world import Stack, World
from qa_env.store import Store
from tests import canaries, github_server, reporting
from tests.fakes import MemoryStore
from tests.strict_aws import StrictAWS, strict_aws
from tests.strict_aws import World as Account

NOW = 1_795_000_000.0  # November 2026
REPOSITORY = "example/shop"
REGION, OWNER = "ap-northeast-1", "123456789012"
HERE = f"{REGION}:{OWNER}"
ROLE = f"arn:aws:iam::{OWNER}:role/pipeline"
CONNECTION = f"arn:aws:codeconnections:{HERE}:connection/1"
CERTIFICATE = f"arn:aws:acm:{HERE}:certificate/1"
DEPLOY = f"arn:aws:lambda:{HERE}:function:qa-env-deploy"
GRANTS = [
    {"privileges": ["PROCESS", "CONNECTION_ADMIN"], "schema": "*", "object": "*", "grantable": False},
    {"privileges": ["ALL PRIVILEGES"], "schema": "qa-%", "object": "*", "grantable": False},
]
MYSQL: dict[str, Any] = {
    "version": "8.4.3",
    "tls": "TLSv1.3",
    "plugin": "caching_sha2_password",
    "lower_case_table_names": 0,
    "max_connections": 500,
    "max_used_connections": 40,
    "partial_revokes": False,
    "read_only": False,
    "grants": GRANTS,
    "others": 0,
}
REDIS: dict[str, Any] = {
    "version": "7.1.0",
    "tls": True,
    "databases": 16,
    "policy": "noeviction",
    "maxmemory": 1000,
    "replica": False,
    "keys": ["~qa_*"],
}


@dataclass
class Sound:
    """The world, and what it is asked about. `said` is what AWS says where moto cannot; `data` what the
    datastores function answers, by store and action."""

    aws: StrictAWS
    account: Account
    hub: reporting.Hub
    slack: local_slack.Slack
    slack_url: str
    receiver: github_server.Server
    lb_group: str = ""
    now: float = NOW
    said: dict[str, Any] = field(default_factory=dict)
    data: dict[tuple[str, str], Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    resources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deployed: dict[str, Any] | None = None
    store: Store = field(default_factory=MemoryStore)
    hook: Webhook = field(default_factory=lambda: Webhook(""))

    @property
    def blueprint(self) -> Blueprint:
        return Blueprint.model_validate(self.values | self.changes)

    @property
    def values(self) -> dict[str, Any]:
        """The blueprint as its file has it, without the changes."""
        web = {"copy_of": self.account.stg_web, "container": "web", "port": 3000, "threads": 3}
        return {
            "version": 1,
            "repository": REPOSITORY,
            "cluster": self.account.cluster,
            "image_repository": self.account.repository,
            "load_balancers": [
                {
                    "arn": self.account.load_balancer.arn,
                    "host": "{slug}.qa.example.com",
                    "ports": "10001-10049",
                    "protocol": "HTTPS",
                    "certificate_arn": CERTIFICATE,
                    "oidc": {
                        "secret": "secretsmanager:oidc",
                        "issuer": "https://login.example.com",
                        "authorization_endpoint": "https://login.example.com/authorize",
                        "token_endpoint": "https://login.example.com/token",
                        "user_info_endpoint": "https://login.example.com/userinfo",
                    },
                }
            ],
            "roles": {
                "app": {**web, "log_group": "/qa/app"},
                "worker": {
                    "copy_of": self.account.stg_worker,
                    "container": "worker",
                    "log_group": "/qa/worker",
                },
            },
            "pipeline": {
                "connection_arn": CONNECTION,
                "role_arn": ROLE,
                "artifact_bucket": "artifacts",
                "build_project": "build",
                "migrate_project": "migrate",
            },
            "database": {"secret": "secretsmanager:mysql"},
            "redis": {"mode": "namespace", "secret": "secretsmanager:redis", "database": 9},
            "github": {"secret": "secretsmanager:github", "api_url": self.hub.api.api_url},
            "slack": {"secret": "secretsmanager:slack", "channel": "C0QAENV0001", "api_url": self.slack_url},
        }

    @property
    def world(self) -> World:
        return World(
            self.aws.client,
            lambda: Stack("qa-env", self.parameters, self.outputs, self.resources),
            lambda: self.store,
            fetch=lambda url: self._artefact(),
            clock=lambda: self.now,
            pause=lambda seconds: None,
        )

    def findings(self, name: str) -> list[Finding]:
        """What one check says."""
        return [one.finding for one in checks.examine(self.world, [self.blueprint], name)]

    def worst(self, name: str) -> Finding:
        """What it says that is not ok; it must be one thing, with a fix."""
        (found,) = [one for one in self.findings(name) if one.level != Level.OK]
        assert found.fix
        return found

    def secret(self, name: str, value: object) -> None:
        """Give a secret another value."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.aws.client("secretsmanager").put_secret_value(SecretId=name, SecretString=text)

    def use_app(self) -> App:
        """GitHub's credentials are an App's from now on, and the webhook is its own."""
        key = canaries.app_key()
        self.secret("github", json.loads(canaries.secrets()["secretsmanager:app"]))
        self.hub.hooks.of[f"/repos/{REPOSITORY}"].clear()
        self.hub.hooks.clock = lambda: self.now
        self.hub.hooks.app = App(key.public_key(), self.hook)
        return self.hub.hooks.app

    def _artefact(self) -> bytes:
        """The code of a function, as `make build` makes it."""
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as artefact:
            artefact.writestr("handlers/sweep.py", "")
            if self.deployed is not None:
                artefact.writestr("blueprints/shop.yaml", yaml.safe_dump(self.deployed))
        return made.getvalue()

    # --- building it ------------------------------------------------------------------------------------

    def build(self) -> None:
        """Everything that STG, the operator and the deployment have made."""
        self.outputs = {
            "WebhookUrl": f"{self.receiver.url}/",
            "DeployFunctionArn": DEPLOY,
            "DeadLetterQueueUrl": self.account.dlq_url,
            "DatastoresFunctionName": "qa-env-datastores",
        }
        self.hook.url = self.outputs["WebhookUrl"]
        self.hook.answer = 200
        self.hub.hooks.of[f"/repos/{REPOSITORY}"].append(self.hook)
        self.receiver.answers["POST /"] = github_server.Answer({"message": "pong"})
        self._build_network()
        self._build_pipelines()
        arns = self._build_secrets()
        self._build_deployment(arns)
        self.deployed = self.values
        self._serve()

    def _build_network(self) -> None:
        ec2, elbv2 = self.aws.client("ec2"), self.aws.client("elbv2")
        self.lb_group = ec2.create_security_group(
            GroupName="qa-lb", Description="load balancer", VpcId=self.account.vpc
        )["GroupId"]
        elbv2.set_security_groups(
            LoadBalancerArn=self.account.load_balancer.arn, SecurityGroups=[self.lb_group]
        )
        self.admit(self.lb_group, 10001, 10049, IpRanges=[{"CidrIp": "203.0.113.0/24"}])
        self.admit(self.account.security_group, 3000, 3000, UserIdGroupPairs=[{"GroupId": self.lb_group}])

    def admit(self, group: str, first: int, last: int, **who: Any) -> None:
        rule = {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, **who}
        self.aws.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

    def listen(self, port: int, **tags: str) -> None:
        """A listener of somebody; with our tags one of ours."""
        self.aws.client("elbv2").create_listener(
            LoadBalancerArn=self.account.load_balancer.arn,
            Protocol="HTTP",
            Port=port,
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
            Tags=[{"Key": name, "Value": value} for name, value in tags.items()],
        )

    def shut(self, group: str) -> None:
        """Take every rule away."""
        ec2 = self.aws.client("ec2")
        (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])

    def _build_pipelines(self) -> None:
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "codepipeline.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        self.aws.client("iam").create_role(RoleName="pipeline", AssumeRolePolicyDocument=json.dumps(trust))
        s3 = self.aws.client("s3")
        s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}}
        s3.put_bucket_lifecycle_configuration(Bucket="artifacts", LifecycleConfiguration={"Rules": [rule]})
        policy = {
            "rules": [
                {
                    "rulePriority": 1,
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "sinceImagePushed",
                        "countUnit": "days",
                        "countNumber": 1,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
        self.aws.client("ecr").put_lifecycle_policy(
            repositoryName=self.account.repository, lifecyclePolicyText=json.dumps(policy)
        )
        logs = self.aws.client("logs")
        for name in ("/qa/app", "/qa/worker"):
            logs.create_log_group(logGroupName=name)
            logs.put_retention_policy(logGroupName=name, retentionInDays=14)
        project = {"source": {"type": "CODEPIPELINE"}, "artifacts": {"type": "CODEPIPELINE"}}
        self.said["codebuild:BatchGetProjects"] = {
            "build": {**project, "name": "build", "environment": {"privilegedMode": True}},
            "migrate": {**project, "name": "migrate", "vpcConfig": {"vpcId": self.account.vpc}},
        }

    def _build_secrets(self) -> dict[str, str]:
        client = self.aws.client("secretsmanager")
        arns = {}
        for reference, text in canaries.secrets().items():
            name = reference.partition(":")[2]
            arns[name] = client.create_secret(Name=name, SecretString=text)["ARN"]
        webhook = client.create_secret(Name="webhook", SecretString=canaries.WEBHOOK_SECRET)
        self.outputs["WebhookSecretArn"] = webhook["ARN"]
        return arns

    def _build_deployment(self, arns: Mapping[str, str]) -> None:
        self.parameters = {
            "Installation": "qa-env",
            "AlarmTopicArn": f"arn:aws:sns:{HERE}:alarms",
            "GitHubSecretArns": arns["github"],
            "SlackSecretArns": arns["slack"],
            "OidcSecretArns": arns["oidc"],
            "DataSecretArns": f"{arns['mysql']},{arns['redis']}",
            "BuildProjectArns": f"arn:aws:codebuild:{HERE}:project/*",
            "ImageRepositoryArns": f"arn:aws:ecr:{HERE}:repository/{self.account.repository}",
            "PassRoleArns": ", ".join(
                f"arn:aws:iam::{OWNER}:role/{name}" for name in ("pipeline", "stg-task", "stg-execution")
            ),
        }
        names = ("qa-env-deadletters", "qa-env-age")
        for name in names:
            self.aws.client("cloudwatch").put_metric_alarm(
                AlarmName=name,
                AlarmDescription=f"{name}: see the log of reconcile.",
                Namespace="AWS/SQS",
                MetricName="x",
                Statistic="Maximum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=0,
                ComparisonOperator="GreaterThanThreshold",
            )
        self.resources = {
            "AWS::Lambda::Function": ("qa-env-reconcile", "qa-env-sweep"),
            "AWS::CloudWatch::Alarm": names,
        }

    # --- what moto cannot -------------------------------------------------------------------------------

    def _serve(self) -> None:
        self.said |= {
            "sts:GetCallerIdentity": {"Account": OWNER},
            "acm:DescribeCertificate": {
                "Status": "ISSUED",
                "DomainName": "qa.example.com",
                "SubjectAlternativeNames": ["qa.example.com", "*.qa.example.com"],
                "NotAfter": datetime.fromtimestamp(NOW + 200 * 86400, UTC),
            },
            "codeconnections:GetConnection": {"ConnectionName": "github", "ConnectionStatus": "AVAILABLE"},
            "iam:SimulatePrincipalPolicy": set(),
            "lambda:GetFunctionConfiguration": {"State": "Active", "LastUpdateStatus": "Successful"},
        }
        self.data = {
            ("mysql", "check"): dict(MYSQL),
            ("mysql", "list"): {"names": []},
            ("redis", "check"): dict(REDIS),
            ("redis", "list"): {"names": [], "cursor": "0"},
        }
        stand_ins = {
            "sts:GetCallerIdentity": self._identity,
            "acm:DescribeCertificate": self._certificate,
            "codeconnections:GetConnection": self._connection,
            "iam:SimulatePrincipalPolicy": self._simulate,
            "codebuild:BatchGetProjects": self._projects,
            "lambda:GetFunctionConfiguration": self._function,
            "lambda:GetFunction": lambda *_: {"Code": {"Location": "https://code.example.com"}},
            "lambda:Invoke": self._invoke,
        }
        for pattern, answer in stand_ins.items():
            self.aws.serve(pattern, answer)

    def _identity(self, *_: Any) -> dict[str, Any]:
        date = format_datetime(datetime.fromtimestamp(self.said.get("time", NOW), UTC), usegmt=True)
        return self.said["sts:GetCallerIdentity"] | {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    def _certificate(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"Certificate": self._there("acm", "DescribeCertificate")}

    def _connection(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"Connection": self._there("codeconnections", "GetConnection")}

    def _function(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        return dict(self._there("lambda", "GetFunctionConfiguration"))

    def _there(self, service: str, operation: str) -> Any:
        """What is said of it; AWS's error if it is gone."""
        said = self.said[f"{service}:{operation}"]
        if said is None:
            error = {"Error": {"Code": "ResourceNotFoundException", "Message": "not there"}}
            client = self.aws.client(service)
            raise client.exceptions.ResourceNotFoundException(error, operation)
        return said

    def _projects(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        known = self.said["codebuild:BatchGetProjects"]
        return {"projects": [known[name] for name in params["names"] if name in known]}

    def _simulate(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        denied = self.said["iam:SimulatePrincipalPolicy"]
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": "implicitDeny" if name in denied else "allowed"}
                for name in params["ActionNames"]
            ]
        }

    def _invoke(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        request = json.loads(params["Payload"])
        answer = self.data[request["store"], request["action"]]
        answer = answer(request) if callable(answer) else answer
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


@contextmanager
def sound() -> Iterator[Sound]:
    """A world of its own."""
    workspace = local_slack.Slack(canaries.SLACK_TOKEN, "qa", canaries.SLACK_HOOK)
    server = local_slack.Server(workspace)
    server.start()
    try:
        with strict_aws(REGION) as aws, reporting.github() as hub, github_server.serve() as receiver:
            made = Sound(aws, aws.world(), hub, workspace, server.api_url, receiver)
            made.build()
            yield made
    finally:
        server.stop()
