"""Managed online endpoints: ARM's view of them, and the scoring address that clients call.

A deployment runs the real ``azureml-inference-server-http`` of its own environment: one process for a deployment, with as many
workers as its ``WORKER_COUNT`` variable says, whatever ``instance_count`` is. The instance count is honoured where it can be seen:
in the quota that is reserved, in the number of requests that may be under way, and in the upper limit. Not emulated, and refused by
name: Kubernetes endpoints and custom containers (an environment with an ``inferenceConfig``), since both need a container runtime.
"""
