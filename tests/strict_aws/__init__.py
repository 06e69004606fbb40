"""AWS as strict as it really is, in memory.

moto answers, but accepts what AWS refuses in exactly the places this product lives (facts D2). This
package sits in front of it: every call of every boto3 client passes through `StrictAWS.handle`, which checks
names and ranges against the botocore models, applies the rules of `elbv2.py`, `ecs.py`, `ecr.py`,
`dynamodb.py`, `events.py`, `secretsmanager.py` and `tagging.py`, and injects the faults a test asked for
(`faults.py`). Where a rule cannot be put in front of moto (ECS services and their tasks) the layer answers
itself. Each rule names the fact it comes from; "BC" is the botocore model's own documentation.

    with strict_aws() as aws:
        world = aws.world()  # VPC, load balancer, cluster, STG services, table, queue, repository
        ecs = aws.client("ecs")
        ecs.create_service(cluster=world.cluster, ...)
        aws.ecs.settle("qa-foo-web")  # its tasks run and are healthy
        aws.throttle("CreateTargetGroup", times=2)
        aws.hide_new("CreateListener", describes=1)  # the next read does not see it yet
        aws.busy("DeletePipeline")  # the next one finds its pipeline busy
        aws.elbv2.page_size = 1  # who does not paginate sees one thing
        assert aws.calls_to("ecs:CreateService")
"""

from tests.strict_aws.call import Call, Event, Refused
from tests.strict_aws.layer import StrictAWS, strict_aws
from tests.strict_aws.world import LoadBalancer, World

__all__ = ["Call", "Event", "LoadBalancer", "Refused", "StrictAWS", "World", "strict_aws"]
