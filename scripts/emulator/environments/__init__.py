"""What runs under a job or a deployment: an Azure ML environment made into a Python virtual environment."""
