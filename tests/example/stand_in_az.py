"""Stands before the Azure CLI in the test of docs/azure-devops.md: what the emulator knows goes to the CLI, the rest is written down.

Written down is what needs an organization: commands of the `azure-devops` extension, which is not installed here, and the calls of Azure
DevOps' REST that the emulator does not know. They are answered with an id of the kind that the service gives.
"""

from __future__ import annotations

import json
import os
import sys
import uuid

EMULATED = "/_apis/serviceendpoint/"


def main(words: list[str]) -> None:
    url = words[words.index("--url") + 1] if "--url" in words else ""
    if words[0] not in ("devops", "repos", "pipelines") and not ("dev.azure.com" in url and EMULATED not in url):
        os.execv(os.environ["REAL_AZ"], [os.environ["REAL_AZ"], *words])
    body = sys.stdin.read() if "@-" in words else ""
    with open(os.environ["WRITTEN_DOWN"], "a+", encoding="utf-8") as file:
        file.seek(0)
        number = len(file.readlines()) + 1
        file.write(json.dumps({"number": number, "words": words, "body": body}) + "\n")
    if "none" not in words:
        whole = words[0] == "pipelines" or "distributedtask" in url  # pipelines, queues, runs and environments have numbers
        print(number if whole else uuid.UUID(int=number))


main(sys.argv[1:])
