"""Starts the inference server of the environment it runs in, on the Unix socket that ``EMULATOR_SOCKET`` names instead of
every network address. Run by the deployment's own interpreter, so it knows nothing of the emulator.
"""

import os
import sys

sys.path.pop(0)  # this folder: a scoring script must not find it

try:
    import azureml_inference_server_http.constants as constants
except ModuleNotFoundError:
    sys.exit(
        "A required package azureml-inference-server-http is missing. Please install azureml-inference-server-http before trying again"
    )

# gunicorn takes everything after "unix:" for a path; the server appends its port to it, as it would to an address.
constants.DEFAULT_HOST = "unix:" + os.environ.pop("EMULATOR_SOCKET")

from azureml_inference_server_http import amlserver  # noqa: E402  (reads the constant when it is imported)

if __name__ == "__main__":
    amlserver.run()
