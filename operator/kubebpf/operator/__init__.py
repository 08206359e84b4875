"""The operator: BpfTrace -> compiled object, reports of nodes -> status. `model`, `merge` and `status` know no Kubernetes."""
