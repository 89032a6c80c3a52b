"""A local Azure: the hosts, services and life cycles that Azure Machine Learning's own clients talk to."""
