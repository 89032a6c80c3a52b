"""A job and a deployment of your own, with nothing but azure-ai-ml: the same lines work on Azure."""

import os
from pathlib import Path

from azure.ai.ml import MLClient, command
from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.identity import EnvironmentCredential

HERE = Path(__file__).resolve().parent
ml = MLClient(EnvironmentCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], "rg-flight-delay-dev", "mlw-flight-delay-dev")
environment = Environment(name="plain", image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=HERE / "conda.yml")

job = ml.jobs.create_or_update(
    command(
        command="mkdir -p outputs && echo 42 > outputs/answer.txt && cat outputs/answer.txt", environment=environment, compute="cpu-cluster"
    )
)
ml.jobs.stream(job.name)
model = ml.models.create_or_update(Model(name="answer", path=f"azureml://jobs/{job.name}/outputs/artifacts/paths/outputs/answer.txt"))

ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="plain-azure", auth_mode="key")).result()
deployment = ManagedOnlineDeployment(
    name="blue", endpoint_name="plain-azure", model=model, environment=environment, instance_type="Standard_DS2_v2", instance_count=1,
    code_configuration=CodeConfiguration(code=str(HERE / "score"), scoring_script="score.py"),
)  # fmt: skip
ml.online_deployments.begin_create_or_update(deployment).result()
print(ml.online_endpoints.invoke("plain-azure", deployment_name="blue", request_file=HERE / "request.json"))
