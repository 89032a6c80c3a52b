"""The first step of every job under act: asks the engine whether the job may start, and hands on what GitHub gives it.

The engine reads the request from the step's output and answers in the folder that it names. Without an engine to ask (ACT_JOBS) the job
starts. A job that may not start ends here, in GitHub's words.
"""

import json
import os
import sys
import tempfile
import time

try:
    if os.environ.get("ACT_JOBS"):
        folder = tempfile.mkdtemp(dir=os.environ["ACT_JOBS"])
        asked = {"name": os.environ["JOB_NAME"], "environment": os.environ["JOB_ENVIRONMENT"]}
        print(json.dumps({**asked, "permissions": json.loads(os.environ["JOB_PERMISSIONS"]), "folder": folder}), flush=True)
        answer = os.path.join(folder, "answer")
        while not os.path.exists(answer):
            time.sleep(0.02)
        with open(answer, encoding="utf-8") as file:
            job = json.load(file)
        os.remove(answer)
        if job["state"] != "in_progress":
            print(f"::error::{job['reason'] or 'The operation was canceled.'}", flush=True)
            time.sleep(0.2)  # what a step says in the moment in which it ends, act may miss on a busy machine
            sys.exit(1)
        print(f"::add-mask::{job['token']}", flush=True)
        with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
            file.write(f"token={job['token']}\ncheck_run_id={job['id']}\n")
except KeyboardInterrupt:
    print("::error::The operation was canceled.", flush=True)
    sys.exit(1)
