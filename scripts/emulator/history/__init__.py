"""Run history and artifacts: the services of a region's ``api.azureml.ms`` that clients follow jobs with."""
