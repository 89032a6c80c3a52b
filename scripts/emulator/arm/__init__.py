"""Azure Resource Manager: subscriptions, resource groups, plain resources, template deployments and role-based access."""
