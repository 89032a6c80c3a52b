"""Azure DevOps: service connections and the tokens that a pipeline's job gets for them, builds with their timelines, approvals."""
